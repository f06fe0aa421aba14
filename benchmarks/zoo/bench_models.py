"""Models of the zoo on our operators and on torch's, with the same weights: time and memory.

A model joins by its name in `MODELS`. Those of tens of millions of parameters are here in a smaller
form, in which a case takes seconds: the layers are the same, with fewer channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.common import Case, Column, Prepared, relative_error
from benchmarks.memory import MEGABYTE, in_child
from benchmarks.results import Figure, Goal
from pyfast import zoo

CHILD = "benchmarks.zoo.step_memory"
FORWARD, STEP = "forward", "training step"
NEVER_SLOWER = (Goal("torch", 0.98),)
TOLERANCE = {FORWARD: 1e-3, STEP: 0.02}


class Form(NamedTuple):
    shape: tuple[int, ...]  # of the images
    settings: dict[str, Any]  # what differs from the tiny form


WIDE = {"width": 16, "crop": 128}
MODELS = {
    "crf_rnn": Form((2, 3, 32, 32), {"crop": 32, "crf_method": "exact"}),
    "deeplab_v1": Form((2, 3, 128, 128), WIDE),
    "deeplabv2_resnet101": Form((2, 3, 129, 129), {"width": 16, "crop": 129}),
    "deeplabv2_vgg16": Form((2, 3, 128, 128), WIDE),
    "dilatednet_frontend": Form((2, 3, 128, 128), WIDE),
    "dilatednet_context_basic": Form((2, 3, 128, 128), WIDE),
    "dilatednet_context_large": Form((2, 3, 128, 128), WIDE),
    "dilatednet8": Form((2, 3, 128, 128), WIDE | {"context": "large"}),
    "stn_cnn": Form((64, 1, 32, 32), {}),
    "stn_two_digits": Form((64, 1, 32, 32), {}),
    "stn_svhn_single": Form((32, 3, 32, 32), {}),
    "stn_svhn_multi": Form((32, 3, 32, 32), {}),
    "stn_birds_2x": Form((32, 3, 64, 64), {}),
    "stn_birds_4x": Form((32, 3, 64, 64), {}),
}


def models(name: str, device: torch.device) -> tuple[Any, Any, Any]:
    """On our operators, on torch's, and that in float64: the same weights and buffers."""
    torch.manual_seed(0)
    settings = MODELS[name].settings
    ours, plain, exact = (
        zoo.create_model(f"{name}.tiny", backend=backend, **settings).to(device)
        for backend in ("pyfast", "torch", "torch")
    )
    for other in (plain, exact.double()):
        other.load_state_dict(ours.state_dict())
    return ours, plain, exact


def batch(model: Any, count: int, device: torch.device) -> list[Tensor]:
    data = model.dataset()
    return [part.to(device) for part in default_collate([data[index] for index in range(count)])]


def forward(model: Any, data: list[Tensor]) -> Callable[[], Tensor]:
    model.eval()
    prepare = getattr(model, "preprocess", lambda image: image)
    inputs = prepare(data[0])
    return lambda: model(inputs)


def step(model: Any, data: list[Tensor], last: int = 0) -> Callable[[], list[Tensor]]:
    """A step of all that learns, by the system's own updates and optimisers, or its `last` ones.

    Its rate is 0, and statistics stay as they are, so that every call finds the state of the first.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    updates = model.train().updates()[-last:]
    optimisers = []
    for update in updates:
        modules = update.modules
        parts = modules if isinstance(modules, tuple) else (modules,)
        own = {parameter for part in parts for parameter in part.parameters()}
        named = [(n, p) for n, p in model.named_parameters() if p in own and p.requires_grad]
        optimisers.append(update.make_optimizer(named))
        for group in optimisers[-1].param_groups:
            group["lr"] = 0.0

    def call() -> list[Tensor]:
        gradients: list[Tensor] = []
        for update, optimiser in zip(updates, optimisers, strict=True):
            optimiser.zero_grad()
            update.loss(data).backward()
            optimiser.step()
            for group in optimiser.param_groups:
                gradients += [parameter.grad for parameter in group["params"]]
        return gradients

    return call


def joined(result: Any) -> tuple[Tensor, ...]:
    """One vector: gradients that are zero but for rounding must not count by themselves."""
    parts = [result] if isinstance(result, Tensor) else result
    return (torch.cat([part.detach().flatten() for part in parts]),)


def prepare(case: Case, device: torch.device) -> Prepared:
    ours, plain, exact = models(case.op, device)
    data = batch(ours, case.shape[0], device)
    assert data[0].shape == case.shape, data[0].shape
    make: Any = step if case.backward else forward
    doubles = [part.double() if part.is_floating_point() else part for part in data]
    tolerance = TOLERANCE[case.direction]
    expected = joined(make(exact, doubles)())
    if case.backward:
        # In float64 other ReLUs are open and other maxima are pooled: gradients differ by more than
        # rounding, torch's too. So they are held to torch's, as far as that is from float64.
        found = tuple(part.double() for part in joined(make(plain, data)()))
        tolerance = max(tolerance, relative_error(found[0], expected[0]))
        expected = found
    columns = {
        name: Column(make(model, data), joined, tolerance)
        for name, model in (("pyfast", ours), ("torch", plain))
    }
    return Prepared(columns, expected)


CASES = [
    Case(name, form.shape, "nchw", direction, prepare, goals=NEVER_SLOWER)
    for name, form in MODELS.items()
    for direction in (FORWARD, STEP)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_models(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("name", MODELS)
def bench_memory(name: str, figure: Callable[[Figure], None]) -> None:
    """Peak of a training step, above the state with weights and data, in a process of its own."""
    ours, torchs = (in_child(CHILD, name, key)["peak"] / MEGABYTE for key in ("pyfast", "torch"))
    bar = 1.02 * torchs  # pages come and go
    figure(Figure(name, "peak memory of a training step, MB", ours, {"torch": torchs}, bar))
