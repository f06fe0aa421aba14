"""Memory of one dense CRF call, measured in the process that makes it: prints JSON.

python -m benchmarks.ops.crf_memory pyfast|pydensecrf HEIGHT WIDTH LABELS [CALLS]
"""

import json
import sys

from benchmarks.memory import peak_of, status
from benchmarks.ops import crf_scenes
from benchmarks.ops.crf_scenes import DEEPLAB, Peer

FEW = 3  # calls after which all memory that is kept is there


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
    found = {"peak": peak_of(run)}
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
