"""ASPP, summed into few outputs and concatenated, against torch's convolutions, one a rate."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.results import Goal

NCHW, CHANNELS_LAST = "nchw", "channels_last"
FORWARD, BOTH = "forward", "forward+backward"


class Head(NamedTuple):
    outputs: int  # of each branch
    rates: tuple[int, ...]
    pointwise: bool  # whether the first branch is one of 1 x 1
    join: Callable[[list[Tensor]], Tensor]
    ours: Callable[..., Tensor]

    def kernel(self, branch: int) -> int:
        return 1 if self.pointwise and branch == 0 else 3

    def torchs(self, input: Tensor, *weights: Tensor) -> Tensor:
        return self.join(
            [
                F.conv2d(input, w, padding=rate * (w.shape[2] // 2), dilation=rate)
                for w, rate in zip(weights, self.rates, strict=True)
            ]
        )

    def pyfasts(self, input: Tensor, *weights: Tensor) -> Tensor:
        return self.ours(input, weights, None, self.rates)


HEADS = {
    "aspp_sum": Head(21, (6, 12, 18, 24), False, lambda parts: reduce(add, parts), pyfast.aspp_sum),
    "aspp_concat": Head(
        256, (1, 6, 12, 18), True, lambda parts: torch.cat(parts, 1), pyfast.aspp_concat
    ),
}
# (must, stretch) forward: how many times faster than torch, on one thread of a CPU.
BARS = {
    ("aspp_sum", (1, 2048, 41, 41), NCHW): (1.15, 1.6),
    ("aspp_sum", (1, 2048, 41, 41), CHANNELS_LAST): (2.5, None),
    ("aspp_sum", (1, 2048, 65, 65), NCHW): (1.3, 1.6),
    ("aspp_sum", (1, 2048, 65, 65), CHANNELS_LAST): (2.5, None),
    ("aspp_sum", (1, 512, 41, 41), NCHW): (0.95, None),
    ("aspp_concat", (1, 2048, 33, 33), NCHW): (1.0, None),
    ("aspp_concat", (1, 2048, 33, 33), CHANNELS_LAST): (1.0, None),
}
BACKWARD = {"aspp_sum": (1.15, None), "aspp_concat": (1.0, None)}


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
    head, channels = HEADS[case.op], case.shape[1]
    tensors = [input]
    for branch in range(len(head.rates)):
        size = (head.outputs, channels, *2 * [head.kernel(branch)])
        tensors.append(torch.randn(size).to(device) / channels)
    exact = [tensor.double() for tensor in tensors]
    if case.backward:
        columns = {
            name: Column(with_backward(function, tensors))
            for name, function in (("pyfast", head.pyfasts), ("torch", head.torchs))
        }
        return Prepared(columns, with_backward(head.torchs, exact)())
    columns = {
        "pyfast": Column(lambda: head.pyfasts(*tensors)),
        "torch": Column(lambda: head.torchs(*tensors)),
    }
    return Prepared(columns, (head.torchs(*exact),))


def work(head: Head, shape: tuple[int, ...], backward: bool) -> dict[str, int]:
    """Bytes of input, weights and output; products whose factor is no padding."""
    n, c, h, w = shape
    taps = [
        (y * rate, x * rate)
        for branch, rate in enumerate(head.rates)
        for y in range(-(head.kernel(branch) // 2), head.kernel(branch) // 2 + 1)
        for x in range(-(head.kernel(branch) // 2), head.kernel(branch) // 2 + 1)
    ]
    inside = sum(max(0, h - abs(y)) * max(0, w - abs(x)) for y, x in taps)
    results = head.outputs * (1 if head.ours is pyfast.aspp_sum else len(head.rates))
    passes = 3 if backward else 1
    values = n * c * h * w + len(taps) * c * head.outputs + n * results * h * w
    return {"bytes": 4 * values * passes, "flops": 2 * n * c * head.outputs * inside * passes}


CASES = [
    Case(
        name,
        shape,
        layout,
        direction,
        prepare,
        **work(HEADS[name], shape, direction == BOTH),
        goals=(Goal("torch", *(bar if direction == FORWARD else BACKWARD[name])),),
    )
    for (name, shape, layout), bar in BARS.items()
    for direction in (FORWARD, BOTH)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_aspp(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
