"""Segmentation at work: a small DeepLab learns shapes, and the dense CRF draws their outlines."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.page import Page
from pyfast.demo.segmentation import learning

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    learned, facts, preview = learning.section(folder, console)
    return Page(
        name="segmentation",
        title="Segmentation",
        summary="A small DeepLab learns which pixels belong to discs, squares and triangles, and a "
        "dense CRF draws the outlines that it has lost.",
        facts=facts,
        sections=[learned],
        preview=preview,
    )
