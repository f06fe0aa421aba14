"""Sampling at work: digits straightened, photographs warped and bent, and how fast that was."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.page import Page
from pyfast.demo.sampling import bends, photographs, speed, straightening

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    digits, digit_facts, preview = straightening.section(folder, console)
    photos, photo_fact = photographs.section(folder, console)
    bent = bends.section(folder, console)
    table, speed_fact = speed.section(console)
    return Page(
        name="sampling",
        title="Sampling",
        summary="Spatial transformers that straighten what they see, photographs warped and "
        "bent, and the time that takes.",
        facts=[*digit_facts, speed_fact, photo_fact],
        sections=[digits, photos, bent, table],
        preview=preview,
    )
