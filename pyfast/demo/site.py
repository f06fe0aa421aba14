"""Writes pages as HTML that opens from disk and needs nothing from the network."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

import pyfast
from pyfast.demo.page import Page
from pyfast.env import processor_name


def write(output: Path, pages: Sequence[Page]) -> Path:
    """Writes one file for every page, and the front page with all of them; returns the latter."""
    environment = Environment(
        loader=PackageLoader("pyfast.demo"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    common = {"version": pyfast.__version__, "machine": machine(), "pages": pages}

    def render(template: str, file: str, **values: object) -> Path:
        path = output / file
        path.write_text(environment.get_template(template).render(**common, **values))
        return path

    for page in pages:
        render("page.html", f"{page.name}.html", page=page)
    return render("index.html", "index.html")


def machine() -> str:
    """Where the numbers were measured, in one line."""
    import torch

    from pyfast._native import _C

    parts = [processor_name(), _C.cpu_capability().upper(), f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.insert(1, torch.cuda.get_device_name())
    return ", ".join(parts)
