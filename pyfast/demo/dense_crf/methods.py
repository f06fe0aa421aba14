"""The section on accuracy: lattice and closed lattice against the exact sum over all pairs."""

from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console

import pyfast
from pyfast.demo.dense_crf import scene
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.pictures import mosaic, save
from pyfast.demo.timing import duration

HEIGHT = 160  # small, because the exact sum takes the square of the number of pixels
METHODS = ("exact", "lattice", "closed")


def section(folder: Path, console: Console) -> tuple[Section, Fact]:
    """Runs all three methods on a smaller photograph."""
    image = scene.smaller(scene.image(), HEIGHT)
    unary = torch.nn.functional.interpolate(
        scene.energies(scene.image()), tuple(image.shape[2:]), mode="nearest"
    )
    pairs = (image.shape[2] * image.shape[3]) ** 2
    console.print(f"\n[bold]Accuracy[/]: {pairs / 1e9:.1f} billion pairs of pixels")
    found, seconds = {}, {}
    for method in METHODS:
        call = partial(pyfast.dense_crf, unary, image, method=method)
        if method != "exact":  # which takes too long to do it twice
            call()  # brings memory and threads into being
        start = perf_counter()
        found[method] = call()
        seconds[method] = perf_counter() - start
    exact = found["exact"]
    rows, tiles, errors = [], [], {}
    for method, marginals in found.items():
        errors[method] = ((marginals - exact).norm() / exact.norm()).item()
        equal = (marginals.argmax(1) == exact.argmax(1)).double().mean().item()
        rows.append((method, f"{errors[method]:.4f}", f"{equal:.2%}", duration(seconds[method])))
        tiles.append(scene.blended(marginals))
        console.print(f"  {method:8} relative error {errors[method]:.4f}, labels {equal:.2%}")
    differences = [
        (1 - (found[method] - exact).abs().sum(1) / 2).expand(3, -1, -1)
        for method in ("lattice", "closed")
    ]
    together = torch.stack([*tiles, image[0] / 255, *differences]).unflatten(0, (2, 3))
    height, width = together.shape[-2:]
    together = together.repeat_interleave(2, -1).repeat_interleave(2, -2)
    picture = save(
        folder,
        "methods.png",
        mosaic(together, gap=8),
        "Above the marginals. Below the photograph, and where the two lattices differ from the "
        "exact sum: black where all of the probability is with another label.",
        columns=METHODS,
        rows=("marginals", "difference"),
    )
    table = Table(
        ("method", "relative error", "labels as exact", "time"),
        rows,
        f"Marginals after ten iterations, {width} x {height} pixels: norm of the difference over "
        "norm, the most probable label, and the time of one call.",
        strong=[1],
    )
    text = Text(
        "A lattice in the space of places and colours stands for the sum over all pairs of pixels. "
        "Where a photograph has no colour there is no vertex of the lattice, and what is blurred "
        "there is lost. That is the usual approximation, also pydensecrf's. The closed lattice "
        "makes the neighbours of all vertices, and loses little; the exact method sums over the "
        "pairs."
    )
    factor = errors["lattice"] / max(errors["closed"], 1e-12)
    fact = Fact(f"{factor:.1f}x", "nearer to the exact sum with the closed lattice")
    return Section("Lattice, closed lattice, exact", [text, picture, table]), fact
