"""The section on marginals: brush strokes, and what becomes of guesses iteration by iteration."""

from pathlib import Path

import torch
from rich.console import Console

import pyfast
from pyfast.demo.dense_crf import scene
from pyfast.demo.page import Picture, Section, Table, Text
from pyfast.demo.pictures import mosaic, save

STEPS = (0, 1, 2, 5, 10)


def section(folder: Path, console: Console) -> tuple[Section, Picture]:
    """Runs mean field step by step; returns the section and a picture for the front page."""
    image = scene.image()
    unary = scene.energies(image)
    size = f"{image.shape[3]} x {image.shape[2]}"
    console.print(f"\n[bold]Brush strokes[/]: {scene.PHOTOGRAPH}, {size}, {unary.shape[1]} labels")
    labels = scene.strokes(image.shape[2:])
    known = labels > 0
    pictures, rows = [scene.painted(image)], []
    for step in STEPS:
        # Without iterations marginals are the softmax of what each pixel says by itself.
        marginals = (
            pyfast.dense_crf(unary, image, iterations=step) if step else torch.softmax(-unary, 1)
        )
        best = marginals.argmax(1)[0]
        right = (best[known] == labels[known] - 1).double().mean().item()
        edges = (best[:, 1:] != best[:, :-1]).double().mean().item()
        sure = marginals.amax(1).mean().item()
        pictures.append(scene.blended(marginals))
        rows.append((str(step), f"{right:.1%}", f"{edges:.1%}", f"{sure:.2f}"))
    console.print(f"  right under the strokes: {rows[0][1]} before, {rows[-1][1]} after")
    tiles = torch.stack(pictures)
    caption = (
        "Left the photograph with its strokes. Then every pixel in the colours of its labels, "
        "mixed as probable as they are: before mean field, and after one iteration."
    )
    first = save(
        folder,
        "strokes.jpg",
        mosaic(tiles[None, :3], gap=8),
        caption,
        columns=("strokes", "no iteration", "1 iteration"),
    )
    last = save(
        folder,
        "iterations.jpg",
        mosaic(tiles[None, 3:], gap=8),
        "The same after more iterations.",
        columns=("2 iterations", "5 iterations", "10 iterations"),
    )
    preview = save(
        folder,
        "preview.jpg",
        mosaic(tiles[[0, 1, -1]][None], gap=8),
        "Brush strokes, what each pixel says by itself, and after ten iterations.",
    )
    table = Table(
        ("iterations", "right under the strokes", "neighbours that differ", "mean of the largest"),
        rows,
        "Right: pixels under a stroke whose most probable label is the stroke's. Then how many "
        "neighbours in a row have another label, and how probable the best label is.",
        strong=[1],
    )
    text = Text(
        "The colours under a stroke say how probable its label is for any other pixel, by colour "
        f"alone. To {1 - scene.TRUST:.0%} these guesses are replaced by even chances, and then "
        "noise is added to each. The CRF asks that pixels which are near and of like colour have "
        "the same label, all pairs at once: exp(-|p - p'|² / 2·67² - |c - c'|² / 2·3²), weight 4, "
        "and exp(-|p - p'|² / 2), weight 3."
    )
    return Section("From strokes to labels", [text, first, last, table]), preview
