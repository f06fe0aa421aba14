"""The basic context module of DilatedNet, eight layers of few channels, against torch's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.common import Case, Column, Prepared
from benchmarks.results import Goal
from pyfast.nn import ContextModule

NCHW, CHANNELS_LAST = "nchw", "channels_last"
FORWARD, BOTH = "forward", "forward+backward"
# (must, stretch): how many times faster than torch, on one thread of a CPU.
BARS = {
    ((1, 21, 66, 66), NCHW, FORWARD): (2.0, 2.5),
    ((4, 21, 90, 90), NCHW, FORWARD): (2.0, 2.5),
    ((1, 21, 66, 66), CHANNELS_LAST, FORWARD): (0.95, None),
    ((1, 21, 66, 66), NCHW, BOTH): (0.95, None),
    ((1, 21, 66, 66), CHANNELS_LAST, BOTH): (0.95, None),
}


def modules(device: torch.device) -> tuple[ContextModule, ContextModule, ContextModule]:
    """On our operators, on torch's, and that in float64; no layer lets values fade."""
    torch.manual_seed(0)
    ours, plain, exact = (
        ContextModule(21, backend=backend).to(device) for backend in ("pyfast", "torch", "torch")
    )
    for layer in ours.layers:
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    for other in (plain, exact.double()):
        other.load_state_dict(ours.state_dict())
    return ours, plain, exact


def prepare(case: Case, device: torch.device) -> Prepared:
    format = torch.channels_last if case.layout == CHANNELS_LAST else torch.contiguous_format
    generator = torch.Generator().manual_seed(1)
    input = torch.randn(case.shape, generator=generator).to(device).contiguous(memory_format=format)
    gradient = torch.randn(case.shape, generator=generator).to(input)

    def call(module: ContextModule, input: torch.Tensor) -> Callable[[], Any]:
        if not case.backward:
            return lambda: module(input)
        leaves = [input.detach().requires_grad_(), *module.parameters()]
        return lambda: torch.autograd.grad(module(leaves[0]), leaves, gradient.to(input))

    ours, plain, exact = modules(device)
    columns = {"pyfast": Column(call(ours, input)), "torch": Column(call(plain, input))}
    result = call(exact, input.double())()
    return Prepared(columns, (result,) if isinstance(result, torch.Tensor) else result)


def work(shape: tuple[int, ...], backward: bool) -> dict[str, int]:
    """Bytes of input and output; products of seven layers of 3 x 3 and one of 1 x 1."""
    n, c, h, w = shape
    passes = 3 if backward else 1
    weights = (7 * 9 + 1) * c * c
    values = 2 * n * c * h * w + weights
    return {"bytes": 4 * passes * values, "flops": 2 * passes * n * h * w * weights}


CASES = [
    Case(
        "context_module",
        shape,
        layout,
        direction,
        prepare,
        **work(shape, direction == BOTH),
        goals=(Goal("torch", *bar),),
    )
    for (shape, layout, direction), bar in BARS.items()
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_context_module(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
