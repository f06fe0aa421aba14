"""Photographs bent: seen slantwise, through a thin-plate spline, by a flow and back again."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast.data import photograph
from pyfast.demo.page import Section, Table, Text
from pyfast.demo.pictures import mosaic, save
from pyfast.demo.sampling.photographs import FOCUS, SIZE, centre_square

COLUMNS = (
    "square",
    "seen slantwise",
    "put straight again",
    "thin-plate spline",
    "by a flow",
    "and back",
)
SLANT = ((1.05, 0.25, 0.0), (0.0, 1.2, 0.05), (0.0, 0.45, 1.0))
MARGIN = 24  # pixels at the rim, where the flow brought in what was outside


def bent_points() -> tuple[Tensor, Tensor]:
    """4 x 4 points, and where a bulge with a twist sends them."""
    line = torch.linspace(-1, 1, 4)
    y, x = torch.meshgrid(line, line, indexing="ij")
    source = torch.stack([x, y], -1).view(-1, 2)
    radius = source.norm(dim=1, keepdim=True)
    turn = torch.stack([-source[:, 1], source[:, 0]], 1) * (0.35 * (1.5 - radius))
    return source, source * (0.75 + 0.2 * radius) + turn


def ripple() -> Tensor:
    """A flow in pixels, (1, 2, SIZE, SIZE): waves that cross."""
    phase = torch.arange(SIZE) * (2 * math.pi / 64)
    x = 5 * phase.sin().view(-1, 1).expand(SIZE, SIZE)
    y = 4 * (1.5 * phase).cos().expand(SIZE, SIZE)
    return torch.stack([x, y])[None]


def inverse_of(flow: Tensor, steps: int = 30) -> Tensor:
    """The flow back: g(p) = -f(p + g(p)), which is solved by repeating it."""
    back = -flow
    for _ in range(steps):
        back = -pyfast.warp(flow, back, padding_mode="border")
    return back


def by_torch(image: Tensor, flow: Tensor) -> Tensor:
    """`pyfast.warp` the long way: an identity grid, the flow scaled and added to it."""
    height, width = flow.shape[2:]
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=False)
    grid = grid + flow.movedim(1, -1) * torch.tensor([2 / width, 2 / height])
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def section(folder: Path, console: Console) -> Section:
    """Bends every photograph in every way, and undoes what can be undone."""
    console.print("\n[bold]Bends[/]: projective maps, thin-plate splines, a flow and its inverse")
    slant = torch.tensor(SLANT)[None]
    straight = torch.linalg.inv(slant)
    spline = pyfast.nn.ThinPlateSplineGrid(bent_points()[0], (SIZE, SIZE))
    grid, flow = spline(bent_points()[1][None]), ripple()
    back = inverse_of(flow)
    inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    pictures, rows = [], []
    for name in FOCUS:
        photo = photograph(name).unsqueeze(0) / 255
        square = pyfast.affine_grid_sample(photo, centre_square(photo)[None, :2], (SIZE, SIZE))
        slanted = pyfast.homography_grid_sample(square, slant, (SIZE, SIZE))
        restored = pyfast.homography_grid_sample(slanted, straight, (SIZE, SIZE))
        bulged = pyfast.grid_sample(square, grid, padding_mode="reflection")
        moved = pyfast.warp(square, flow, padding_mode="border")
        returned = pyfast.warp(moved, back, "bicubic", padding_mode="border")
        pictures.append(torch.cat([square, slanted, restored, bulged, moved, returned]))
        before, after = ((x - square)[inside].abs().mean().item() for x in (moved, returned))
        difference = (moved - by_torch(square, flow)).abs().max().item()
        rows.append((name, f"{before:.4f}", f"{after:.4f}", f"{difference:.6f}", difference))
    worst = max(row[-1] for row in rows)
    console.print(f"  largest difference of a flow's warp from torch's: {worst:.1e}")
    picture = save(
        folder,
        "bends.jpg",
        mosaic(torch.stack(pictures), gap=8),
        "A homography and its inverse; a spline through 4 × 4 control points; a flow of crossing "
        "waves, and the inverse flow, found by warping the flow by itself. Straightening and going "
        "back sample what was sampled already, and so blur a little.",
        rows=tuple(FOCUS),
        columns=COLUMNS,
    )
    table = Table(
        header=(
            "photograph",
            "after the flow",
            "after its inverse",
            "largest difference from torch",
        ),
        rows=[row[:-1] for row in rows],
        caption="Mean difference from the square photograph, without the rim, pixel values in 0 to "
        "1; and of the flow's warp from an identity grid plus the flow in torch.",
    )
    text = Text(
        "homography_grid_sample and warp read the photograph in one pass, without a grid in "
        "memory. A thin-plate spline with fixed source points is one product of matrices a call."
    )
    return Section("Photographs, bent and unbent", [text, picture, table])
