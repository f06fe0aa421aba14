"""ASPP into few outputs, against torch's convolutions, one for each rate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.results import Goal

RATES = (6, 12, 18, 24)
NCHW, CHANNELS_LAST = "nchw", "channels_last"
FORWARD, BOTH = "forward", "forward+backward"
# (must, stretch) forward: how many times faster than torch, on one thread of a CPU.
BARS = {
    ((1, 2048, 41, 41), NCHW): (1.15, 1.6),
    ((1, 2048, 41, 41), CHANNELS_LAST): (2.5, None),
    ((1, 2048, 65, 65), NCHW): (1.3, 1.6),
    ((1, 2048, 65, 65), CHANNELS_LAST): (2.5, None),
    ((1, 512, 41, 41), NCHW): (0.95, None),
}
OUTPUTS = 21


def torchs(input: Tensor, *weights: Tensor) -> Tensor:
    first, *others = [
        F.conv2d(input, weight, padding=rate, dilation=rate)
        for weight, rate in zip(weights, RATES, strict=True)
    ]
    for other in others:
        first = first + other
    return first


def ours(input: Tensor, *weights: Tensor) -> Tensor:
    return pyfast.aspp_sum(input, weights, None, RATES)


def with_backward(function: Callable[..., Tensor], tensors: list[Tensor]) -> Callable[[], Any]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    generator = torch.Generator().manual_seed(1)
    output = function(*leaves)
    gradient = torch.randn(output.shape, generator=generator).to(output)
    return lambda: torch.autograd.grad(function(*leaves), leaves, gradient)


def prepare(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    format = torch.channels_last if case.layout == CHANNELS_LAST else torch.contiguous_format
    input = torch.randn(case.shape).to(device).contiguous(memory_format=format)
    channels = case.shape[1]
    tensors = [input]
    tensors += [torch.randn(OUTPUTS, channels, 3, 3).to(device) / channels for _ in RATES]
    exact = [tensor.double() for tensor in tensors]
    if case.backward:
        columns = {
            name: Column(with_backward(function, tensors))
            for name, function in (("pyfast", ours), ("torch", torchs))
        }
        return Prepared(columns, with_backward(torchs, exact)())
    columns = {
        "pyfast": Column(lambda: ours(*tensors)),
        "torch": Column(lambda: torchs(*tensors)),
    }
    return Prepared(columns, (torchs(*exact),))


def work(shape: tuple[int, ...], backward: bool) -> dict[str, int]:
    """Bytes of input, weights and output; products whose factor is no padding."""
    n, c, h, w = shape
    inside = sum(
        max(0, h - abs(y) * rate) * max(0, w - abs(x) * rate)
        for rate in RATES
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    )
    passes = 3 if backward else 1
    values = n * c * h * w + len(RATES) * 9 * c * OUTPUTS + n * OUTPUTS * h * w
    return {"bytes": 4 * values * passes, "flops": 2 * n * c * OUTPUTS * inside * passes}


CASES = [
    Case(
        "aspp_sum",
        shape,
        layout,
        direction,
        prepare,
        **work(shape, direction == BOTH),
        goals=(Goal("torch", *(bar if direction == FORWARD else (1.15, None))),),
    )
    for (shape, layout), bar in BARS.items()
    for direction in (FORWARD, BOTH)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_aspp(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
