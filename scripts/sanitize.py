"""Runs tests of the CPU kernels in a build with the address and undefined-behaviour sanitizers.

    python scripts/sanitize.py [PYTEST ARGUMENTS]

The build is a package of its own under build/sanitized; the one in use stays as it is.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "build" / "sanitized"
# A conversion of NaN to an integer passes unseen without float-cast-overflow.
FLAGS = (
    "-fsanitize=address,undefined -fsanitize=float-cast-overflow -fno-sanitize-recover=all "
    "-fno-omit-frame-pointer"
)
TESTS = [
    "tests/test_arrays.py",
    "tests/ops/test_sampling_against_torch.py",
    "tests/ops/test_sampling_properties.py",
    "tests/ops/test_sampling.py",
]
# What compiles or exports says nothing of the kernels, and the sanitizers slow it down.
LEFT_OUT = "not (compile or inductor or export or opcheck)"


def libraries() -> str:
    """What has to be loaded before Python. Without libstdc++ a C++ exception ends the process."""
    compiler = os.environ.get("CXX", "g++")
    found = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    return " ".join(found)


def levels() -> list[str]:
    """The instruction sets that this processor runs; each has kernels of its own."""
    from pyfast._native import _C

    return _C.cpu_capabilities()


def main() -> None:
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(PACKAGE)]
    settings = {
        "PYFAST_BUILD_TYPE": "RelWithDebInfo",
        "PYFAST_CUDA": "0",
        "CMAKE_ARGS": f"-DCMAKE_CXX_FLAGS='{FLAGS}'",
    }
    subprocess.run(build, cwd=ROOT, check=True, env=os.environ | settings)
    tests = sys.argv[1:] or ["-m", "not slow", "-k", LEFT_OUT, *TESTS]
    # `pytest` alone, unlike `python -m pytest`, leaves this folder's own package out of the path.
    run = [str(Path(sys.executable).with_name("pytest")), "-p", "no:cacheprovider", *tests]
    settings = {
        "PYTHONPATH": str(PACKAGE),
        "LD_PRELOAD": libraries(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "OMP_NUM_THREADS": "1",
    }
    for level in levels():
        print(f"sanitize: CPU level {level}", flush=True)
        environment = os.environ | settings | {"PYFAST_CPU_CAPABILITY": level}
        if subprocess.run(run, cwd=ROOT, env=environment).returncode != 0:
            sys.exit(f"sanitize: failed at CPU level {level}")


if __name__ == "__main__":
    main()
