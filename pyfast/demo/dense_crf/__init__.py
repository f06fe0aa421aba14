"""The dense CRF at work: brush strokes become a segmentation, and what that takes."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.dense_crf import iterations, learning, methods, speed
from pyfast.demo.page import Page

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    marginals, preview = iterations.section(folder, console)
    accuracy, accuracy_fact = methods.section(folder, console)
    learned, learned_fact = learning.section(console)
    times, speed_fact = speed.section(console)
    return Page(
        name="dense_crf",
        title="Dense CRF",
        summary="A few brush strokes and noisy guesses become labels that follow the edges of a "
        "photograph, by a CRF that connects every pixel with every other.",
        facts=[speed_fact, accuracy_fact, learned_fact],
        sections=[marginals, accuracy, learned, times],
        preview=preview,
    )
