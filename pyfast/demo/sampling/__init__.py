"""Affine sampling at work: digits straightened, photographs warped, and how fast that was."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.page import Page
from pyfast.demo.sampling import photographs, speed, straightening

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    digits, digit_facts, preview = straightening.section(folder, console)
    photos, photo_fact = photographs.section(folder, console)
    table, speed_fact = speed.section(console)
    return Page(
        name="sampling",
        title="Affine sampling",
        summary="Spatial transformers that straighten what they see, photographs warped, and the "
        "time that takes.",
        facts=[*digit_facts, speed_fact, photo_fact],
        sections=[digits, photos, table],
        preview=preview,
    )
