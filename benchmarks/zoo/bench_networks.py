"""DeepLab v2 and DilatedNet as published, whole, on our operators and on torch's.

"winograd4": convolutions of 3 x 3 and stride 1 in the body, of 256 channels or more, are asked for
F(4x4), dilated or not. With fewer channels its transforms take longer than its products save.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from benchmarks.common import Case, Column, Prepared
from benchmarks.results import Goal
from benchmarks.zoo.bench_models import FORWARD, STEP, forward, joined, step
from pyfast import zoo
from pyfast.nn import DilatedConv2d

NCHW, CHANNELS_LAST = "nchw", "channels_last"
Bar = tuple[float, float | None]


class Network(NamedTuple):
    shape: tuple[int, ...]  # of the images
    settings: dict[str, Any]  # what differs from the published form
    default: Bar  # (must, stretch): how many times faster than torch
    winograd4: Bar


NETWORKS = {
    "deeplabv2_resnet101": Network(
        (1, 3, 321, 321), {"image_scales": ()}, (1.05, 1.1), (1.15, 1.25)
    ),
    "dilatednet8": Network((1, 3, 500, 500), {"dropout": 0.0}, (1.0, 1.1), (1.05, 1.2)),
}
# Relative to torch's: a ReLU that rounding opens or shuts changes gradients below it.
TOLERANCE = {FORWARD: 1e-3, STEP: 0.05}


def models(name: str, device: torch.device) -> tuple[Any, Any]:
    """On our operators and on torch's, with the same weights and buffers."""
    torch.manual_seed(0)
    ours, plain = (
        zoo.create_model(name, backend=backend, **NETWORKS[name].settings).to(device)
        for backend in ("pyfast", "torch")
    )
    settle(plain, torch.randn(NETWORKS[name].shape, device=device))
    ours.load_state_dict(plain.state_dict())
    return ours, plain


@torch.no_grad()
def settle(model: nn.Module, images: Tensor) -> None:
    """Lets batch norms know the statistics of untrained features, which grow without them."""
    norms = [module for module in model.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images)


def ask_for_winograd4(model: nn.Module) -> None:
    for layer in model.modules():
        if not isinstance(layer, nn.Conv2d) or min(layer.weight.shape[:2]) < 256:
            continue
        if layer.kernel_size == (3, 3) and layer.stride == (1, 1):
            layer.__class__ = DilatedConv2d
            layer.algorithm = "winograd4"  # type: ignore[assignment]


def prepare(winograd4: bool, case: Case, device: torch.device) -> Prepared:
    name = case.op.removesuffix("-winograd4")
    ours, plain = models(name, device)
    if winograd4:
        ask_for_winograd4(ours.network.body)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(case.shape, generator=generator).to(device)
    labels = torch.randint(4, (1, *case.shape[2:]), generator=generator).to(device)
    if case.layout == CHANNELS_LAST:
        image = image.contiguous(memory_format=torch.channels_last)
        for model in (ours, plain):
            model.to(memory_format=torch.channels_last)
    make: Any = partial(step, last=1) if case.backward else forward
    calls = {"pyfast": make(ours, [image, labels]), "torch": make(plain, [image, labels])}
    tolerance = TOLERANCE[case.direction]
    columns = {n: Column(call, joined, tolerance) for n, call in calls.items()}
    return Prepared(columns, tuple(part.double() for part in joined(calls["torch"]())))


CASES = [
    Case(
        f"{name}-winograd4" if winograd4 else name,
        network.shape,
        layout,
        direction,
        partial(prepare, winograd4),
        goals=(Goal("torch", *(network.winograd4 if winograd4 else network.default)),),
    )
    for name, network in NETWORKS.items()
    for winograd4, layout, direction in (
        (False, NCHW, FORWARD),
        (False, CHANNELS_LAST, FORWARD),
        (False, NCHW, STEP),
        (True, NCHW, FORWARD),
        (True, NCHW, STEP),
    )
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_networks(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
