"""Networks of dilated convolutions, on torch's operators and on ours, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

import pyfast
from pyfast._threads import one_thread
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.timing import compare, duration


class WaveNetStack(nn.Module):
    """Gated layers with dilations 1, 2, 4, ... and their residuals, as in WaveNet.

    Reference: van den Oord et al., WaveNet: A Generative Model for Raw Audio, 2016, section 2.4.
    """

    def __init__(self, conv: type[nn.Conv1d], channels: int = 24, layers: int = 9) -> None:
        super().__init__()
        self.past = [2**i for i in range(layers)]
        self.gated = nn.ModuleList(
            conv(channels, 2 * channels, 2, dilation=dilation) for dilation in self.past
        )
        self.mixed = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(layers))

    def forward(self, signal: Tensor) -> Tensor:
        layers = zip(self.past, self.gated, self.mixed, strict=True)
        for past, gated, mixed in layers:
            # Zeros before the signal: no output sees what comes after it.
            filtered, gate = gated(F.pad(signal, (past, 0))).chunk(2, 1)
            signal = signal + mixed(filtered.tanh() * gate.sigmoid())
        return signal


class SeparablePyramid(nn.Module):
    """Depthwise convolutions of several rates, as in the head of DeepLab v3+."""

    def __init__(self, conv: type[nn.Conv2d], channels: int = 256) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv(channels, channels, 3, padding=rate, dilation=rate, groups=channels)
            for rate in (6, 12, 18)
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([branch(features) for branch in self.branches], 1)


class Case(NamedTuple):
    what: str
    make: Callable[[bool], nn.Module]  # on ours, or on torch's operators
    shape: tuple[int, ...]


def _backend(ours: bool) -> str:
    return "pyfast" if ours else "torch"


CASES = (
    Case(
        "ASPP of DeepLab v2, four rates into 21 classes",
        lambda ours: pyfast.nn.ASPP(2048, 21, backend=_backend(ours)),  # type: ignore[arg-type]
        (1, 2048, 41, 41),
    ),
    Case(
        "depthwise pyramid of DeepLab v3+",
        lambda ours: SeparablePyramid(pyfast.nn.DilatedConv2d if ours else nn.Conv2d),
        (1, 256, 65, 65),
    ),
    Case(
        "a dilated layer of ResNet's last stage",
        lambda ours: (pyfast.nn.DilatedConv2d if ours else nn.Conv2d)(
            512, 512, 3, padding=2, dilation=2
        ),
        (1, 512, 41, 41),
    ),
    Case(
        "WaveNet stack, nine layers, 0.4 s of sound",
        lambda ours: WaveNetStack(pyfast.nn.DilatedConv1d if ours else nn.Conv1d),
        (1, 24, 6400),
    ),
)


def pair(case: Case) -> tuple[nn.Module, nn.Module, Tensor]:
    """The network on ours and on torch's operators, and an input."""
    torch.manual_seed(0)
    plain = case.make(False).eval()
    fast = case.make(True).eval()
    fast.load_state_dict(plain.state_dict())
    return fast, plain, torch.randn(case.shape)


def section(console: Console, seconds: float = 1.5) -> tuple[Section, Fact]:
    """Times every network for about `seconds`, forward and as a step of training."""
    console.print("\n[bold]Networks[/]: one thread, torch's operators and ours in turns")
    rows, ratios = [], []
    for case in CASES:
        fast, plain, input = pair(case)
        with torch.no_grad():
            ours, theirs = fast(input), plain(input)
        error = float((ours - theirs).abs().max() / theirs.abs().max())
        cells, said = [], []
        for learns in (False, True):
            with one_thread():
                time = compare(_call(fast, input, learns), _call(plain, input, learns), seconds)
            ratios.append(time.ratio)
            cells += [duration(time.theirs), duration(time.ours), f"{time.ratio:.2f}x"]
            said.append(f"{'training step' if learns else 'forward'} {time.ratio:5.2f}x")
        rows.append([case.what, *cells, f"{error:.0e}"])
        console.print(f"  {case.what:46} {'   '.join(said)}")
    table = Table(
        header=["network", *2 * ["torch", "pyfast", "ratio"], "difference"],
        rows=rows,
        caption="Left forward without gradients, right forward and backward to input and weights. "
        "The difference is the largest, of the largest output.",
        strong=[3, 6],
    )
    text = Text(
        "The same weights on torch's operators and on ours, which a change of class brings: "
        "DilatedConv2d takes the arguments and the state of Conv2d. Where nothing of ours wins, "
        "torch's operator runs."
    )
    fact = Fact(f"up to {max(ratios):.1f}x", "the speed of torch, on one thread")
    return Section("Networks, before and after", [text, table]), fact


def _call(network: nn.Module, input: Tensor, learns: bool) -> Callable[[], object]:
    if not learns:
        return torch.no_grad()(lambda: network(input))
    leaves = [input.detach().clone().requires_grad_(), *network.parameters()]
    return lambda: torch.autograd.grad(network(leaves[0]).sum(), leaves)
