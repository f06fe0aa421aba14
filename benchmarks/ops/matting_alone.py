"""One task of matting alone in a process: `python -m benchmarks.ops.matting_alone LIBRARY TASK MP`.

For what takes long or a lot of memory. Prints JSON: seconds of the call, bytes that it added to the
process at its peak, and what came out (the error of alpha, or why it failed).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scenes import Scene, scene_of

PATIENCE = 900  # seconds


def measured(library: str, task: str, megapixels: float) -> dict[str, Any]:
    """What a process of its own prints."""
    words = [library, task, str(megapixels)]
    command = [sys.executable, "-m", "benchmarks.ops.matting_alone", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"seconds": float(PATIENCE), "failure": f"stopped after {PATIENCE} s"}
    if done.returncode != 0:
        return {"failure": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def tasks(library: str, scene: Scene) -> dict[str, Callable[[], Any]]:
    """The tasks as `library` does them."""
    if library == "pyfast":
        import torch

        import pyfast

        planes = torch.from_numpy(scene.image).permute(2, 0, 1).contiguous()
        return {
            "trimap": lambda: pyfast.estimate_alpha(scene.image, scene.trimap),
            "scribbles": lambda: pyfast.estimate_alpha(scene.image, scene.scribbles),
            "laplacian": lambda: pyfast.matting_laplacian(planes, layout="scipy"),
        }
    import pymatting

    return {
        "trimap": lambda: pymatting.estimate_alpha_cf(scene.image, scene.trimap),
        "scribbles": lambda: pymatting.estimate_alpha_cf(scene.image, scene.scribbles),
        "laplacian": lambda: pymatting.cf_laplacian(scene.image),
    }


def memory(field: str) -> int:
    """A size of this process in bytes, as Linux tells it."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def main(library: str, task: str, megapixels: float) -> None:
    tasks(library, scene_of(0.01))[task]()  # imports and compiles what there is
    scene = scene_of(megapixels)
    call = tasks(library, scene)[task]
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = memory("VmRSS")
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    report = {"seconds": seconds, "bytes": memory("VmHWM") - before}
    if task != "laplacian":
        report["error"] = float(np.square(np.asarray(result) - scene.alpha).mean())
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
