"""Runs tests of the CPU kernels in a build with the address and undefined-behaviour sanitizers.

    python scripts/sanitize.py [PYTEST ARGUMENTS]

The build is a package of its own under build/sanitized; the one in use stays as it is.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from check import WORKERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "build" / "sanitized"

# A line for each file of tests: whether it runs at every CPU level. What compares kernels with
# something else does; what is about arguments and modes of torch runs at the best level alone.
TESTS = {
    "tests/test_arrays.py": False,
    "tests/ops/test_aspp.py": True,
    "tests/ops/test_dense_crf.py": False,
    "tests/ops/test_dense_crf_arrays.py": True,
    "tests/ops/test_depthwise_arrays.py": False,
    "tests/ops/test_dilated_conv.py": True,
    "tests/ops/test_matting_arrays.py": True,
    "tests/ops/test_sampling.py": False,
    "tests/ops/test_sampling_gathers.py": False,
    "tests/ops/test_sampling_properties.py": False,
    "tests/ops/test_sampling_against_torch.py": True,
    "tests/ops/test_sampling_half.py": True,
    "tests/ops/test_foreground.py": False,
    "tests/ops/test_foreground_arrays.py": True,
    "tests/ops/test_guided_filter.py": False,
}
# Says nothing of reads and writes that the rest does not say, and takes most of the time: what
# compiles or exports, derivatives that arrive at the same kernels, repetitions, exactness.
LEFT_OUT = (
    "compile or inductor or export or opcheck or fake or jvp or jacrev or grad-cpu "
    "or (vmap and grad) or gradgradcheck or create_graph or repeat-cpu or as_exact_as"
)


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
    """The instruction sets that this processor runs, the best one last."""
    from pyfast._native import _C

    return _C.cpu_capabilities()


def main() -> None:
    started = time.monotonic()
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(PACKAGE)]
    settings = {"PYFAST_BUILD_TYPE": "Sanitized", "PYFAST_CUDA": "0"}
    subprocess.run(build, cwd=ROOT, check=True, env=os.environ | settings)
    print(f"sanitize: built in {time.monotonic() - started:.0f} s", flush=True)
    # `pytest` alone, unlike `python -m pytest`, leaves this folder's own package out of the path.
    run = [str(Path(sys.executable).with_name("pytest")), "-p", "no:cacheprovider", *WORKERS]
    settings = {
        "PYTHONPATH": str(PACKAGE),
        "LD_PRELOAD": libraries(),
        # Python and torch allocate a lot: short traces and little kept back make that bearable.
        "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=4:quarantine_size_mb=32",
        "OMP_NUM_THREADS": "1",
    }
    *others, best = levels()
    for level in (best, *others):
        files = [file for file, at_every_level in TESTS.items() if at_every_level or level == best]
        tests = sys.argv[1:] or ["-m", "not slow", "-k", f"not ({LEFT_OUT})", *files]
        print(f"sanitize: CPU level {level}", flush=True)
        environment = os.environ | settings | {"PYFAST_CPU_CAPABILITY": level}
        if subprocess.run([*run, *tests], cwd=ROOT, env=environment).returncode != 0:
            sys.exit(f"sanitize: failed at CPU level {level}")
    print(f"sanitize: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
