"""Matting at work: a flower cut out by strokes, known mattes, large pictures, grey ones."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.matting import cutting, grey, speed, truth
from pyfast.demo.page import Page

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    cut, preview = cutting.section(folder, console)
    known, truth_fact = truth.section(folder, console)
    times, speed_facts = speed.section(console)
    matrix, matrix_fact = grey.section(folder, console)
    return Page(
        name="matting",
        title="Matting",
        summary="A subject cut out of a photograph by a few strokes, mattes beside the true ones, "
        "and how long that takes up to four megapixels.",
        facts=[*speed_facts, truth_fact, matrix_fact],
        sections=[cut, known, times, matrix],
        preview=preview,
    )
