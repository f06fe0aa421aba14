"""Labels of a photograph end to end, network and dense CRF, against torch and pydensecrf.

The network is DeepLab's ResNet-101 at one scale, with weights that have learned nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.common import Case, Column, Prepared
from benchmarks.ops import crf_scenes
from benchmarks.ops.bench_dense_crf import TOLERANCE
from benchmarks.ops.crf_scenes import DEEPLAB, Peer, Scene
from benchmarks.results import Goal
from pyfast import zoo
from pyfast.nn import DenseCRF

MODEL, PEER = "deeplabv2_resnet101", "torch + pydensecrf"
LABELS, HEIGHT, WIDTH = 21, 375, 500
ITERATIONS = 10
WHOLE, AFTER = "segment with CRF", "after the network"
BARS = {WHOLE: 1.5, AFTER: 4}

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def peer(module: Any, image: Tensor, probabilities: Tensor) -> Tensor:
    """What follows a network of torch in code that uses pydensecrf."""
    unary = -probabilities.clamp(min=1e-8).log()
    crf = Peer(module, Scene(unary, (image * 255).byte()), DEEPLAB)
    (refined,) = crf.tensors(crf(ITERATIONS))
    return refined


def prepare(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    ours, plain = (
        zoo.create_model(MODEL, backend=backend, classes=LABELS, image_scales=()).eval()
        for backend in ("pyfast", "torch")
    )
    plain.load_state_dict(ours.state_dict())
    image = crf_scenes.scene(HEIGHT, WIDTH, LABELS).image.float() / 255
    scores = partial(plain.probabilities, image, crf=False)
    found = scores()
    exact = ours.refine(found, image, DenseCRF(LABELS, (), method="closed"))
    of_us: dict[str, Callable[[], Tensor]] = {
        WHOLE: partial(ours.probabilities, image, crf=True),
        AFTER: partial(ours.refine, found, image, crf=True),
    }
    columns = {"pyfast": Column(of_us[case.op], tolerance=TOLERANCE)}
    module = crf_scenes.peer()
    if module is not None:
        before = scores if case.op == WHOLE else lambda: found
        columns[PEER] = Column(lambda: peer(module, image, before()), tolerance=TOLERANCE)
    return Prepared(columns, (exact.double(),))


CASES = [
    Case(op, (1, 3, HEIGHT, WIDTH), "nchw", "forward", prepare, goals=(Goal(PEER, bar),))
    for op, bar in BARS.items()
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_segment(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
