"""A run as a web page that opens from disk: warnings, curves, samples, settings, machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfast._files import atomic_write
from pyfast._optional import require
from pyfast.train.callbacks import SAMPLES, Callback
from pyfast.train.logs import WARNING, read_log

if TYPE_CHECKING:
    from pyfast.train.trainer import Trainer

PAGE = "index.html"
WIDTH, HEIGHT = 420, 180  # of a curve, in the units of its drawing
POINTS = 400  # of a curve at most
ROWS = 6  # of sample pictures of one name: the first, the last, and some between


@dataclass(frozen=True)
class Curve:
    """One number over the steps, placed in its drawing."""

    name: str
    points: str
    last: str
    low: str
    high: str
    first_step: int
    last_step: int


class RunPage(Callback):
    """Writes the page with each checkpoint."""

    def on_save(self, trainer: Trainer) -> None:
        if trainer.fabric.is_global_zero:
            write_page(trainer.out)


def write_page(run: str | Path) -> Path:
    """Writes `index.html` of a run from its log, its samples and its settings.

    Args:
        run: the folder of a run, finished or not.

    Returns:
        The file.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    run = Path(run)
    if not (run / "config.json").exists():
        raise FileNotFoundError(f"{run} holds no run: there is no config.json in it")
    jinja = require("jinja2", "train")
    folders = [Path(__file__).parent / "templates", Path(__file__).parents[1] / "demo/templates"]
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(folders),
        autoescape=jinja.select_autoescape(),
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = read_log(run)
    settings = json.loads((run / "config.json").read_text())
    facts = json.loads((run / "environment.json").read_text())
    text = environment.get_template("run.html").render(
        model=settings["model"],
        steps=(lines[-1]["step"] if lines else 0, settings["config"]["steps"]),
        warnings=[(line["step"], line[WARNING]) for line in lines if WARNING in line],
        curves=_curves(lines),
        samples=_samples(run),
        settings={**settings.pop("config"), **settings},
        facts=facts,
    )
    with atomic_write(run / PAGE) as part:
        part.write_text(text)
    return run / PAGE


def _curves(lines: list[dict[str, Any]]) -> list[Curve]:
    points: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", WARNING) and isfinite(value):  # a drawing has no other places
                points.setdefault(name, []).append((line["step"], value))
    return [_curve(name, own) for name, own in points.items()]


def _curve(name: str, points: list[tuple[int, float]]) -> Curve:
    drawn = points[:: -(-len(points) // POINTS)]
    if drawn[-1] != points[-1]:
        drawn.append(points[-1])
    first, last = drawn[0][0], drawn[-1][0]
    low, high = min(y for _, y in drawn), max(y for _, y in drawn)
    places = (
        (
            (step - first) / max(last - first, 1) * WIDTH,
            (1 - (y - low) / (high - low)) * HEIGHT if high > low else HEIGHT / 2,
        )
        for step, y in drawn
    )
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Curve(name, text, f"{drawn[-1][1]:.4g}", f"{low:.3g}", f"{high:.3g}", first, last)


def _samples(run: Path) -> dict[str, list[tuple[int, str]]]:
    """Of each name some steps and files, from the first to the last."""
    found: dict[str, list[tuple[int, str]]] = {}
    for file in sorted((run / SAMPLES).glob("*_*.png")):
        step, _, name = file.stem.partition("_")
        found.setdefault(name, []).append((int(step), f"{SAMPLES}/{file.name}"))
    return {name: _some(files) for name, files in found.items()}


def _some(files: list[tuple[int, str]]) -> list[tuple[int, str]]:
    count = min(ROWS, len(files))
    picked = {round(i * (len(files) - 1) / max(count - 1, 1)) for i in range(count)}
    return [files[i] for i in sorted(picked)]
