"""A picture on which a common way to make the matrix fails: a grey one."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import pyfast
from pyfast.demo.matting.cutting import small
from pyfast.demo.page import Fact, Section, Text
from pyfast.demo.pictures import mosaic, save

EPSILON = 1e-7


def diagonal_by_cofactors(image: Tensor) -> Tensor:
    """The diagonal of the matting Laplacian with its 3 x 3 inverses by cofactors, in float64.

    (3, H, W) -> (H, W). So PyMatting's `cf_laplacian` inverts: where the colours of a window lie on
    a line, the determinant is the small difference of large products.
    """
    height, width = image.shape[1:]
    windows = F.unfold(image[None].double(), 3).view(3, 9, -1)
    centred = windows - windows.mean(1, keepdim=True)
    a = torch.einsum("ikw,jkw->wij", centred, centred) / 9
    a = a + EPSILON / 9 * torch.eye(3, dtype=a.dtype)
    pairs = ((1, 2), (2, 0), (0, 1))
    cofactors = torch.stack(
        [
            torch.stack([a[:, r, c] * a[:, s, d] - a[:, r, d] * a[:, s, c] for c, d in pairs], -1)
            for r, s in pairs
        ],
        1,
    )
    determinant = (a[:, 0] * cofactors[:, 0]).sum(-1)
    inverse = cofactors.mT / determinant[:, None, None]
    distances = torch.einsum("ikw,wij,jkw->kw", centred, inverse, centred)
    return F.fold((1 - (1 + distances) / 9)[None], (height, width), 3)[0, 0]


def section(folder: Path, console: Console) -> tuple[Section, Fact]:
    """The error of that matrix on a colour picture and on a grey one."""
    console.print("\n[bold]Grey pictures[/]: inverses by cofactors, and by Cholesky's factors")
    colour = small("chelsea").double()
    pictures = {"colours": colour, "grey": colour.mean(0, keepdim=True).expand(3, -1, -1)}
    rows, worst = [], {}
    for name, image in pictures.items():
        laplacian = pyfast.MattingLaplacian(image.contiguous(), EPSILON)
        exact = laplacian.diagonal().view(image.shape[1:])
        error = (diagonal_by_cofactors(image) - exact).abs() / exact.max()
        worst[name] = error.max().item()
        console.print(f"  {name:8} largest error {worst[name]:.1e} of the largest entry")
        # From 1e-10 (black) to 1e-2 (white), in powers of ten.
        shown = (error.clamp_min(1e-12).log10() + 10) / 8
        rows.append(torch.stack([image.float(), shown.clamp(0, 1).float().expand(3, -1, -1)]))
    picture = save(
        folder,
        "grey.jpg",
        mosaic(torch.stack(rows), gap=8),
        "The error of the diagonal where the inverse is taken by cofactors, black 1e-10 to white "
        "1e-2 of the largest entry. On the grey picture it reaches "
        f"{worst['grey']:.0e}, which makes the matrix indefinite and solvers fail.",
        columns=("picture", "error by cofactors"),
        rows=tuple(pictures),
    )
    text = Text(
        "Where a picture is grey, black and white, or flat, the covariance of a window is all but "
        "singular. Cofactors then lose every digit of the determinant. pyfast factorises the "
        "covariance after Cholesky, which costs as much: its matrix agrees with extended precision "
        "to 1e-9 and stays positive semi-definite."
    )
    fact = Fact(f"{worst['grey']:.0e}", "error that cofactors make on a grey picture; ours: 1e-9")
    return Section("A picture where the usual matrix is wrong", [text, picture]), fact
