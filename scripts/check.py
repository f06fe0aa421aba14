"""Everything besides the test suite that has to hold before a change goes in.

    python scripts/check.py [NAME...]

Runs the named checks, or all, to the end; a check that fails shows its output.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = [
    str(path.relative_to(ROOT))
    for folder in ("csrc", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".h", ".cpp", ".cu", ".cuh") and "third_party" not in path.parts
]
WORKERS = shlex.split(os.environ.get("WORKERS", ""))  # of pytest: `make check` says how many
CHECKS = {
    "lint": ["ruff", "check"],
    "format": ["ruff", "format", "--check"],
    "native-format": ["clang-format", "--dry-run", "--Werror", *NATIVE],
    "types": ["mypy"],
    "stubs": [
        sys.executable,
        "-m",
        "mypy.stubtest",
        "pyfast._C",
        "--mypy-config-file",
        "pyproject.toml",
    ],
    # The CPU kernels, and the CUDA kernels on the CPU, under the address and undefined-behaviour
    # sanitizers.
    "sanitized-cpu": [sys.executable, "scripts/sanitize.py"],
    "sanitized-cuda": [sys.executable, "-m", "pytest", *WORKERS, "-m", "slow", "tests/simt"],
    # The same kernels through nvcc, where it is installed: registers, spills, shared memory.
    "cuda": [sys.executable, "tests/cuda/compile_check.py"],
    "docs": ["mkdocs", "build", "--strict"],
    # Without CUDA, whose kernels are compiled above, and without a warning of the compiler.
    "wheel": ["env", "PYFAST_CUDA=0", "CXXFLAGS=-Werror", sys.executable, "scripts/wheel.py"],
}


def passes(name: str) -> bool:
    started = time.monotonic()
    done = subprocess.run(
        CHECKS[name], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    passed = done.returncode == 0
    if not passed:
        print(done.stdout)
    seconds = time.monotonic() - started
    print(f"check: {name:14} {'ok' if passed else 'FAILED'} ({seconds:.1f} s)", flush=True)
    return passed


def main() -> None:
    wanted = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in wanted if name not in CHECKS]
    if unknown:
        sys.exit(f"check: no check called {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    failed = [name for name in wanted if not passes(name)]
    if failed:
        sys.exit(f"check: failed: {', '.join(failed)}. One alone: `make check ONLY={failed[0]}`")


if __name__ == "__main__":
    main()
