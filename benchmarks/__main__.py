"""Runs benchmarks: `python -m benchmarks [CASES] [--quick]`.

Sets what must be set before a process starts (memory, threads, instruction set), starts itself
again with it, and hands over to pytest.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.machine import CAPABILITIES, environment


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("cases", nargs="*", help='names or a pytest expression: 28x28, "grid_sample and not 1080"')
    add("-k", dest="pattern", default="", help="the same")
    add("--quick", action="store_true", help="few short rounds; prints, stores nothing")
    add("--threads", type=int, default=int(os.environ.get("PYFAST_BENCH_THREADS", "1")))
    add("--capability", choices=list(CAPABILITIES), help="instruction set, of every library")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--rounds", type=int, help="timings a column")
    add("--results", type=Path, help="folder for the JSON; default: benchmarks/results/<machine>")
    add("--commit", help="commit to record where git is not at hand")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    wanted = environment(args.threads, args.capability)
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        command = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | wanted)
    print(" ".join(f"{key}={value}" for key, value in wanted.items()), flush=True)

    import pytest

    options = ["-o", "python_files=bench_*.py", "-o", "python_functions=bench_*"]
    options += ["-p", "no:cacheprovider", "--benchmark-quiet", "--no-header", "--tb=short"]
    options += [f"--threads={args.threads}", f"--device={args.device}"]
    options += ["--quick"] if args.quick else []
    options += [
        f"--{name}={value}"
        for name in ("rounds", "results", "commit")
        if (value := getattr(args, name)) is not None
    ]
    pattern = " ".join(filter(None, [*args.cases, args.pattern]))
    options += ["-k", pattern] if pattern else []
    folders = [str(Path(__file__).parent / name) for name in ("ops", "zoo")]
    return pytest.main([*folders, *options])


if __name__ == "__main__":
    sys.exit(main())
