"""Dilated convolution at work: what it sees, and networks made of it before and after."""

from pathlib import Path

from rich.console import Console

from pyfast.demo.dilated_conv import networks, views
from pyfast.demo.page import Page

__all__ = ["build"]


def build(folder: Path, console: Console) -> Page:
    """Runs everything; writes the pictures into `folder`."""
    seen, view_fact, preview = views.section(folder, console)
    table, speed_fact = networks.section(console)
    return Page(
        name="dilated_conv",
        title="Dilated convolution",
        summary="Kernels with holes see far for the price of near: how far, and how fast heads and "
        "stacks made of them are.",
        facts=[view_fact, speed_fact],
        sections=[seen, table],
        preview=preview,
    )
