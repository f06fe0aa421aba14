"""`pyfast demo`: the operators at work, as web pages that open from disk."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pages.")] = Path(
        "demo-output"
    ),
    page: Annotated[
        list[str] | None, typer.Option("--page", "-p", help="Only this page; may be repeated.")
    ] = None,
) -> None:
    """Train, warp and measure; write what comes out as pages to look at."""
    from pyfast.demo import UnknownPageError, run

    try:
        run(output, page or None)
    except UnknownPageError as error:
        raise typer.BadParameter(str(error)) from error
