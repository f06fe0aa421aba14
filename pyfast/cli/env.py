"""`pyfast env`: what pyfast runs on, for bug reports."""

from typing import Annotated

import typer


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show versions, processor, threads, GPUs and loaded libraries."""
    from pyfast.env import main

    main(["--json"] if as_json else [])
