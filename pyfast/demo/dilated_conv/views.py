"""What one output of a stack of convolutions sees of the input, as a picture."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast.demo.page import Fact, Picture, Section, Table, Text
from pyfast.demo.pictures import enlarge, mosaic, save

SIZE = 63
STACKS = {
    "1, 1, 1, 1": (1, 1, 1, 1),
    "4, 4, 4, 4": (4, 4, 4, 4),
    "1, 2, 4, 8": (1, 2, 4, 8),
    "1, 2, 4, 8, 16": (1, 2, 4, 8, 16),
}


def view(dilations: tuple[int, ...]) -> Tensor:
    """How many ways lead from each pixel, (SIZE, SIZE), to the output in the middle.

    The gradient of that output, with every weight 1.
    """
    picture = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
    ones, output = torch.ones(1, 1, 3, 3, dtype=torch.float64), picture
    for dilation in dilations:
        output = pyfast.dilated_conv2d(output, ones, padding=dilation, dilation=dilation)
    middle = output[0, 0, SIZE // 2, SIZE // 2]
    return torch.autograd.grad(middle, picture)[0][0, 0]


def width(seen: Tensor) -> int:
    """From the first to the last pixel of a row of which something is seen."""
    columns = seen.sum(0).nonzero()
    return int(columns.max() - columns.min()) + 1


def colours(seen: Tensor) -> Tensor:
    """White where nothing is seen, darker the more ways there are; (3, H, W) in [0, 1]."""
    strength = (seen / seen.max()).sqrt()
    dark = torch.tensor([0.05, 0.25, 0.45], dtype=seen.dtype)[:, None, None]
    return torch.where(seen > 0, 0.9 - 0.9 * strength * (1 - dark), torch.ones_like(seen)).float()


def section(folder: Path, console: Console) -> tuple[Section, Fact, Picture]:
    """Pictures of all stacks, and a table of what they cost."""
    console.print("[bold]Views[/]: what one output sees")
    views = {name: view(dilations) for name, dilations in STACKS.items()}
    rows = []
    for name, seen in views.items():
        layers, side = len(STACKS[name]), width(seen)
        holes = 1 - float((seen > 0).sum()) / side**2
        dense = 1 + 2 * layers
        rows.append(
            [name, str(9 * layers), f"{side} x {side}", f"{holes:.0%}", f"{dense} x {dense}"]
        )
        console.print(f"  dilations {name:16} see {side} x {side} pixels, {holes:.0%} of them not")
    tiles = torch.stack([enlarge(colours(seen), 4 * SIZE) for seen in views.values()])
    picture = save(
        folder,
        "views.png",
        mosaic(tiles[None], 8),
        "One output sees the coloured pixels, the darker the more ways lead to it. Equal dilations "
        "leave holes; doubling ones do not.",
        columns=tuple(views),
    )
    table = Table(
        header=["dilations", "products an output", "sees", "holes", "without dilation it would"],
        rows=rows,
        caption="3 x 3 taps in every layer, one channel. The price is that of the taps.",
        strong=[2],
    )
    text = Text(
        "A dilation moves the taps of a kernel apart. Each layer costs nine products a channel "
        "wherever they are, so that layers of dilations 1, 2, 4, 8 see exponentially far."
    )
    widest = max(views.values(), key=width)
    fact = Fact(f"{width(widest)} pixels", f"wide is the view of {len(STACKS) + 1} layers of 3 x 3")
    return Section("What a dilation sees", [text, picture, table]), fact, picture
