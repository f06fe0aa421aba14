"""Runs code that imports pydensecrf, unedited, on pyfast and, where it is installed, on pydensecrf.

    python -m benchmarks.clients.dense_crf CLONE...

CLONE is the folder of a clone, bare or not, of a repository in `CLIENTS`; nothing is fetched.
A file is read at the commit below, which the clone must hold. Data are made here, of photographs
that ship with scikit-image. Prints one line for each client: how many labels are those of
pydensecrf, how far marginals are from its, and the time of both.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pyfast import compat
from pyfast.data import photograph

LABELS = 21


class Client(NamedTuple):
    repository: str
    commit: str
    path: str
    call: Callable[[Any, np.ndarray], np.ndarray]  # of the module and a picture (H, W, 3)
    what: str


def marks(image: np.ndarray) -> np.ndarray:
    """A rough label for every pixel, (H, W): brightness in steps, with noise."""
    rng = np.random.default_rng(0)
    bright = image.astype(float).sum(2) / 3 + rng.normal(0, 30, image.shape[:2])
    return np.clip(bright * LABELS / 256, 0, LABELS - 1).astype(np.int64)


def probabilities(image: np.ndarray) -> np.ndarray:
    """(LABELS, H, W): the mark's label twice as probable, with noise."""
    score = np.random.default_rng(1).gumbel(size=(LABELS, *image.shape[:2]))
    score += 2 * (np.arange(LABELS)[:, None, None] == marks(image))
    return (np.exp(score) / np.exp(score).sum(0)).astype(np.float32)


def deeplab(module: Any, image: np.ndarray) -> np.ndarray:
    crf = module.DenseCRF(10, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3)
    return crf(image, probabilities(image))


def cutler(module: Any, image: np.ndarray) -> np.ndarray:
    """The mask that a coarse partition, an eighth as large, becomes."""
    return module.densecrf(image, (marks(image) > LABELS // 2)[::8, ::8])


def irn(module: Any, image: np.ndarray) -> np.ndarray:
    return module.crf_inference_label(image, marks(image), n_labels=LABELS)


def own_tests(module: Any, image: np.ndarray) -> np.ndarray:
    """The tests that pydensecrf ships with, but for the one that wants float64 refused."""
    for name, test in vars(module).items():
        if name.startswith("test_") and name != "test_compact_wrong":
            test()
    return np.zeros(1)


CLIENTS = (
    Client(
        "kazuto1011/deeplab-pytorch",
        "4219467fa5de07985f834f1bd8c04c186dc8f6d8",
        "libs/utils/crf.py",
        deeplab,
        "DeepLab v2 post-processing, 21 labels",
    ),
    Client(
        "facebookresearch/CutLER",
        "cca0a270cf68399efc8fd50df426b6d806e39416",
        "maskcut/crf.py",
        cutler,
        "refining a mask, 2 labels",
    ),
    Client(
        "jiwoon-ahn/irn",
        "a2ece0034d0a5a9635e4e131cd4fa6e2a779d316",
        "misc/imutils.py",
        irn,
        "pseudo labels, 21 labels",
    ),
    Client(
        "lucasb-eyer/pydensecrf",
        "2723c7fa4f2ead16ae1ce3d8afe977724bb8f87f",
        "pydensecrf/tests/test_dcrf.py",
        own_tests,
        "its own tests",
    ),
)


def source(client: Client, clones: list[Path]) -> str | None:
    """The client's file at its commit; None where no clone has it."""
    for clone in clones:
        command = ["git", "-C", str(clone), "show", f"{client.commit}:{client.path}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
    return None


@contextmanager
def unused_imports() -> Iterator[None]:
    """Stands in for torchvision, which CutLER's file imports and does not use."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional"]
        stand_ins = {name: ModuleType(name) for name in names}
        stand_ins["torchvision.transforms"].functional = stand_ins[names[2]]  # type: ignore
        stand_ins["torchvision"].transforms = stand_ins[names[1]]  # type: ignore
        sys.modules.update(stand_ins)
        yield
        for name in names:
            del sys.modules[name]
    else:
        yield


def run(client: Client, code: str, image: np.ndarray) -> tuple[np.ndarray, float]:
    """What the client returns, and the better time of two."""
    module = ModuleType("client")
    exec(compile(code, client.path, "exec"), vars(module))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        result = client.call(module, image)
        seconds.append(time.perf_counter() - start)
    return np.asarray(result), min(seconds)


def compared(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Labels that are equal, and for marginals the mean difference."""
    if ours.ndim == 3:
        equal = (ours.argmax(0) == theirs.argmax(0)).mean()
        return f"labels equal {equal:.2%}, mean difference {np.abs(ours - theirs).mean():.1e}"
    return f"labels equal {(ours == theirs).mean():.2%}"


def main() -> None:
    clones = [Path(argument) for argument in sys.argv[1:]]
    image = np.ascontiguousarray(photograph("astronaut").permute(1, 2, 0).numpy()[:375, :500])
    for client in CLIENTS:
        code = source(client, clones)
        head = f"{client.repository} {client.commit[:10]} {client.path}"
        if code is None:
            print(f"{head}: no clone given that holds it")
            continue
        with unused_imports():
            with compat.install("pydensecrf"):
                ours, seconds = run(client, code, image)
            line = f"{head}: {client.what}, passes, {1e3 * seconds:.0f} ms"
            try:
                theirs, other = run(client, code, image)
            except ImportError:
                print(f"{line}; pydensecrf is not installed")
            else:
                print(f"{line} (pydensecrf {1e3 * other:.0f} ms), {compared(ours, theirs)}")


if __name__ == "__main__":
    main()
