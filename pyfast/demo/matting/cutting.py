"""A real photograph, cut out by strokes and put before another one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast.data import photograph
from pyfast.demo.page import Picture, Section, Text
from pyfast.demo.pictures import mosaic, save

NAME, BACKGROUND = "flower", "china"
WIDTH = 480  # of the pictures
# Strokes as (x, y) in parts of the picture, from point to point.
ON_THE_SUBJECT = (((0.42, 0.30), (0.55, 0.45), (0.50, 0.65), (0.40, 0.55), (0.42, 0.30)),)
BESIDE_IT = (
    ((0.04, 0.06), (0.04, 0.94), (0.96, 0.94), (0.96, 0.06), (0.04, 0.06)),
    ((0.88, 0.2), (0.88, 0.8)),
)
THICKNESS = 0.012


Lines = tuple[tuple[tuple[float, float], ...], ...]


def strokes(height: int, width: int, lines: Lines) -> Tensor:
    """(H, W), bool: where a pen of `THICKNESS` passed along the lines."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], -1)
    size = torch.tensor([width, height]).float()
    drawn = torch.zeros(height, width, dtype=torch.bool)
    for line in lines:
        points = torch.tensor(line) * size
        for start, end in pairwise(points):
            along = end - start
            share = (((pixels - start) @ along) / (along @ along)).clamp(0, 1)
            distance = (pixels - start - share[..., None] * along).norm(dim=-1)
            drawn |= distance < THICKNESS * width
    return drawn


def small(name: str) -> Tensor:
    """A photograph, (3, H, W) in [0, 1], of `WIDTH`."""
    image = photograph(name)[None].float() / 255
    height = round(image.shape[2] * WIDTH / image.shape[3])
    return F.interpolate(image, (height, WIDTH), mode="bicubic", antialias=True)[0].clamp(0, 1)


def section(folder: Path, console: Console) -> tuple[Section, Picture]:
    """Strokes to matte to trimap to matte to cut-out; a rough mask to matte."""
    console.print("\n[bold]Cutting out[/]: strokes on a photograph")
    image, behind = small(NAME), small(BACKGROUND)
    size = image.shape[1], image.shape[2]
    drawn = image.clone()
    drawn[:, strokes(*size, ON_THE_SUBJECT)] = 1
    drawn[:, strokes(*size, BESIDE_IT)] = 0
    first, info = pyfast.estimate_alpha(image, scribbles=drawn, epsilon=1e-6, return_info=True)
    first = first.reshape(size)
    console.print(f"  from strokes: {info.iterations} iterations, {info.seconds:.1f} s")
    trimap = pyfast.trimap_from_mask((first > 0.5).float(), erode=6, dilate=6)
    alpha = pyfast.estimate_alpha(image, trimap, epsilon=1e-6).reshape(size)
    foreground = pyfast.estimate_foreground(image, alpha)
    result = pyfast.composite(foreground, alpha, behind[:, : size[0], : size[1]])
    naive = pyfast.composite(image, alpha, behind[:, : size[0], : size[1]])
    rows = torch.stack(
        [
            torch.stack([image, drawn, first.expand(3, -1, -1)]),
            torch.stack([trimap.expand(3, -1, -1), alpha.expand(3, -1, -1), foreground * alpha]),
        ]
    )
    steps = save(
        folder,
        "cutting.jpg",
        mosaic(rows, gap=8),
        "Above: the photograph; strokes, white on the subject and black beside it; the matte that "
        "follows. Below: a trimap around the border of that matte, the matte from it, and the "
        "subject's own colours, on black.",
    )
    before = save(
        folder,
        "composite.jpg",
        mosaic(torch.stack([naive, result])[None], gap=8),
        "Before another photograph: with the colours of the picture, in which the old ground "
        "shines through at the rim, and with those of the estimated foreground.",
        columns=("the picture's colours", "the foreground's"),
    )
    preview = save(folder, "preview.jpg", result, "A flower from one photograph before another.")
    text = Text(
        "In a small window colours lie close to a line, so alpha is close to an affine function of "
        "colour there. The matting Laplacian sums up how far it is from one, over all windows; the "
        "matte is the least of that, with alpha held under the strokes. Every pixel of the picture "
        "is an unknown of one linear system."
    )
    return Section("From strokes to a cut-out", [text, steps, before]), preview
