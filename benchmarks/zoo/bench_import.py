"""What `import pyfast.zoo` adds to `import torch`, in fresh processes with compiled bytecode."""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.results import Figure

STARTS = 10
MUST = 0.3

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def seconds(code: str, bytecode: Path) -> float:
    """The processor's time for a process that runs the code."""
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**settings, "PYTHONPYCACHEPREFIX": str(bytecode)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bench_import(figure: Callable[[Figure], None], tmp_path: Path) -> None:
    codes = ("import torch", "import torch, pyfast.zoo")
    rounds = [[seconds(code, tmp_path) for code in codes] for _ in range(1 + STARTS)]
    torchs = [first for first, _ in rounds[1:]]  # the first compiles
    more = statistics.median(both - first for first, both in rounds[1:])
    peers = {"torch alone": statistics.median(torchs)}
    figure(Figure("import pyfast.zoo", "seconds over torch alone", more, peers, MUST))
