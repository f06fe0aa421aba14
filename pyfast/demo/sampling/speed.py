"""How much faster than torch the operator is on this machine, measured on the spot."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast._threads import one_thread
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.timing import compare, duration


class Case(NamedTuple):
    what: str
    shape: tuple[int, int, int, int]

    def data(self) -> tuple[Tensor, Tensor]:
        """An input, and random affine maps near the identity."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.shape[0], 2, 3, generator=generator)
        return torch.rand(self.shape, generator=generator), torch.eye(2, 3) + 0.1 * noise


CASES = (
    Case("digits", (64, 1, 28, 28)),
    Case("larger digits", (64, 1, 60, 60)),
    Case("small pictures", (32, 3, 64, 64)),
    Case("training pictures", (16, 3, 224, 224)),
    Case("one video frame", (1, 3, 1080, 1920)),
    Case("feature maps", (4, 256, 56, 56)),
)
Operator = Callable[[Tensor, Tensor], Tensor]


def fast(input: Tensor, theta: Tensor) -> Tensor:
    return pyfast.affine_grid_sample(input, theta, input.shape)


def plain(input: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, list(input.shape), align_corners=False)
    return F.grid_sample(input, grid, align_corners=False)


def forward(operator: Operator, case: Case) -> Callable[[], object]:
    """A call of `operator` without gradients."""
    data = case.data()
    return torch.no_grad()(lambda: operator(*data))


def forward_and_backward(operator: Operator, case: Case) -> Callable[[], object]:
    """A call of `operator` with gradients of both arguments."""
    leaves = [tensor.requires_grad_() for tensor in case.data()]
    upstream = torch.ones(case.shape)
    return lambda: torch.autograd.grad(operator(*leaves), leaves, upstream)


def section(console: Console, seconds: float = 0.8) -> tuple[Section, Fact]:
    """Times every case for about `seconds` in each direction."""
    console.print("\n[bold]Speed[/]: one thread, against F.affine_grid and F.grid_sample")
    rows, ratios = [], []
    for case in CASES:
        name = f"{case.what}, {' x '.join(map(str, case.shape))}"
        cells, said = [], []
        for said_as, direction in (("forward", forward), ("with backward", forward_and_backward)):
            with one_thread():
                time = compare(direction(fast, case), direction(plain, case), seconds)
            ratios.append(time.ratio)
            cells += [duration(time.theirs), duration(time.ours), f"{time.ratio:.1f}x"]
            said.append(f"{said_as} {time.ratio:4.1f}x")
        rows.append([name, *cells])
        console.print(f"  {name:38} {'   '.join(said)}")
    table = Table(
        header=["case (N, C, H, W)", *2 * ["torch", "pyfast", "ratio"]],
        rows=rows,
        caption="Left forward alone, right forward and backward to input and map. Medians of "
        "neighbouring runs in turns.",
        strong=[3, 6],
    )
    text = Text("Bilinear, float32, one thread, output as large as the input.")
    fact = Fact(f"{min(ratios):.1f} to {max(ratios):.0f}x", "the speed of torch, on one thread")
    return Section("Speed on this machine", [text, table]), fact
