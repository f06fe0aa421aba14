"""A matte beside the one that the picture was made with."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

import pyfast
from pyfast.data import matte_errors, matte_scene
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.pictures import mosaic, save

SIZE = 300, 400


def section(folder: Path, console: Console) -> tuple[Section, Fact]:
    """Mattes of one scene from a trimap and from strokes."""
    console.print("\n[bold]Known alpha[/]: a subject that was put there")
    scene = matte_scene(*SIZE, hairs=60)
    rows, cells = [], []
    for name, marks in (("trimap", scene.trimap), ("strokes", scene.scribbles)):
        alpha = pyfast.estimate_alpha(scene.image, marks)
        unknown = (marks == 0.5).numpy()
        errors = matte_errors(alpha.double().numpy(), scene.alpha.double().numpy(), unknown)
        cells.append([name, *(f"{errors[each]:.4g}" for each in errors)])
        console.print(f"  {name:8} mean squared error {errors['MSE']:.4f}")
        shown = (marks, alpha, scene.alpha, (alpha - scene.alpha).abs())
        rows.append(torch.stack([scene.image, *(x.expand(3, -1, -1) for x in shown)]))
    picture = save(
        folder,
        "truth.jpg",
        mosaic(torch.stack(rows), gap=6),
        "A flower with a sharp edge below, an ever more blurred one, and hairs of less than a "
        "pixel, over another photograph.",
        columns=("picture", "marks", "alpha", "true alpha", "difference"),
        rows=("trimap", "strokes"),
    )
    table = Table(
        header=("marks", "SAD, thousands", "MSE", "gradient, thousands", "connectivity, thousands"),
        rows=cells,
        caption="Errors over the unknown pixels, as alphamatting.com defines them. Closed-form "
        "matting takes no training: where both layers have many colours within a few pixels, here "
        "under the hairs, lines of colour do not tell the layers apart.",
    )
    text = Text(
        "The picture is made of two photographs and an alpha that is known, so the matte can be "
        "held against the truth."
    )
    fact = Fact(cells[0][2], "mean squared error of alpha in the unknown part of a trimap")
    return Section("Beside the true matte", [text, picture, table]), fact
