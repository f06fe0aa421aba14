"""Memory of one dense CRF call, measured in the process that makes it: prints JSON.

python -m benchmarks.ops.crf_memory pyfast|pydensecrf HEIGHT WIDTH LABELS [CALLS]
"""

import json
import sys
from pathlib import Path

from benchmarks.ops import crf_scenes
from benchmarks.ops.crf_scenes import DEEPLAB, Peer

MEGABYTE = 2**20
FEW = 3  # calls after which all memory that is kept is there


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    library, *numbers = sys.argv[1:]
    height, width, labels, *calls = map(int, numbers)
    scene, small = (crf_scenes.scene(*size, labels) for size in ((height, width), (16, 16)))
    if library == "pyfast":

        def call(scene: crf_scenes.Scene) -> object:
            return crf_scenes.ours(scene, DEEPLAB)

        run = lambda: call(scene)  # noqa: E731
        call(small)
    else:
        module = crf_scenes.peer()
        run = Peer(module, scene, DEEPLAB)
        Peer(module, small, DEEPLAB)()
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before = status("VmRSS")
    run()
    found = {"peak": status("VmHWM") - before}
    if calls:
        for _ in range(FEW):
            run()
        before = status("VmRSS")
        for _ in range(calls[0]):
            run()
        found["growth"] = status("VmRSS") - before
    print(json.dumps(found))


if __name__ == "__main__":
    main()
