"""Memory of a call, measured in a process that does nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTE = 2**20


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that a call adds to the process at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before = status("VmRSS")
    call()
    return status("VmHWM") - before


def in_child(module: str, *arguments: object) -> Any:
    """What a module prints as JSON, run without the allocator's settings for timing.

    Large blocks are mapped apart: the process then has what is in use, and not what the allocator
    keeps between blocks, which differs by tens of megabytes from run to run.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
