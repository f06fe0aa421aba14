"""Real photographs, warped in every way that affine sampling knows, and checked against torch."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast.data import photograph
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.pictures import mosaic, save

SIZE = 256  # height and width of the results


Row = tuple[float, float, float]


class Warp(NamedTuple):
    name: str
    matrix: tuple[Row, Row]
    mode: str = "bilinear"
    padding_mode: str = "zeros"
    at_focus: bool = False  # looks at the photograph's focus instead of its centre


def _turn(degrees: float, scale: float) -> tuple[Row, Row]:
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return (cos, -sin, 0.0), (sin, cos, 0.0)


WARPS = (
    Warp("as it is", _turn(0, 1)),
    Warp("turned", _turn(30, 1.2)),
    Warp("enlarged", _turn(0, 0.16), at_focus=True),
    Warp("enlarged, nearest", _turn(0, 0.16), mode="nearest", at_focus=True),
    Warp("sheared, border", ((1.1, 0.5, 0), (0, 1.1, 0)), padding_mode="border"),
    Warp("small, reflection", _turn(-15, 2.6), padding_mode="reflection"),
)
# Something to look at closely, in coordinates of the largest centred square.
FOCUS = {
    "astronaut": (-0.13, -0.55),
    "chelsea": (-0.28, -0.26),
    "coffee": (0.3, 0.4),
    "china": (-0.55, -0.55),
    "flower": (0.0, 0.0),
}


def centre_square(image: Tensor) -> Tensor:
    """The affine map, 3x3, from a square output to the largest square amid `image`."""
    height, width = image.shape[-2:]
    side = min(height, width)
    return torch.diag(torch.tensor([side / width, side / height, 1.0]))


def section(folder: Path, console: Console) -> tuple[Section, Fact]:
    """Warps every photograph by every warp."""
    console.print("\n[bold]Photographs[/]: warping, and checking against torch")
    pictures, worst = [], dict.fromkeys(WARPS, 0.0)
    for name, focus in FOCUS.items():
        image = photograph(name).unsqueeze(0) / 255
        row = []
        for warp in WARPS:
            bottom = torch.tensor([[0.0, 0.0, 1.0]])
            transform = torch.cat([torch.tensor(warp.matrix), bottom])
            if warp.at_focus:
                transform[:2, 2] += torch.tensor(focus)
            theta = (centre_square(image) @ transform)[None, :2]
            how = (warp.mode, warp.padding_mode, False)
            ours = pyfast.affine_grid_sample(image, theta, (SIZE, SIZE), *how)
            grid = F.affine_grid(theta, [1, 3, SIZE, SIZE], align_corners=False)
            difference = (ours - F.grid_sample(image, grid, *how)).abs().max().item()
            worst[warp] = max(worst[warp], difference)
            row.append(ours[0])
        pictures.append(torch.stack(row))
        console.print(f"  {name:10} {image.shape[3]} x {image.shape[2]}, {len(WARPS)} warps")
    largest = max(worst.values())
    console.print(f"  largest difference from torch: {largest:.1e} (pixel values in 0 to 1)")
    picture = save(
        folder,
        "photographs.jpg",
        mosaic(torch.stack(pictures), gap=8),
        f"Photographs: {', '.join(FOCUS)}. Bilinear, and zeros outside the image, where nothing "
        "else is named.",
        columns=[warp.name for warp in WARPS],
    )
    table = Table(
        header=("warp", "mode", "outside the image", "largest difference from torch"),
        rows=[
            (warp.name, warp.mode, warp.padding_mode, f"{difference:.6f}")
            for warp, difference in worst.items()
        ],
        caption="Pixel values lie between 0 and 1; a step of an 8-bit picture is 0.003922.",
    )
    text = Text(
        "One call warps an image, or a batch of them, by affine maps: no coordinate grid in "
        "memory, every mode and padding, and gradients for image and map."
    )
    return (
        Section("Photographs, warped", [text, picture, table]),
        Fact(f"{largest:.5f}", "largest difference from torch, pixel values in 0 to 1"),
    )
