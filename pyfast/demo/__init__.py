"""The operators at work: `pyfast demo` trains, warps, measures, and writes pages to look at.

A page is a module with a function `build(folder, console) -> Page`: it does the work, says on the
console what it does, and writes its pictures into `folder`. To add one, name it in `PAGES`.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter

from pyfast._optional import require

PAGES = {
    name: f"pyfast.demo.{name}"
    for name in ("sampling", "dilated_conv", "dense_crf", "matting", "segmentation")
}


class UnknownPageError(ValueError):
    """A page was asked for that is not in `PAGES`."""


def run(output: Path, names: Sequence[str] | None = None) -> Path:
    """Builds the pages `names`, or all, in the folder `output`; returns its index.html.

    Raises:
        UnknownPageError: for a name that is not in `PAGES`.
    """
    unknown = set(names or ()) - set(PAGES)
    if unknown:
        raise UnknownPageError(
            f"no page is called {', '.join(sorted(unknown))}; there are {', '.join(PAGES)}"
        )
    console = require("rich.console", "demo").Console(highlight=False)
    from pyfast.demo import site

    start = perf_counter()
    pages = []
    for name in names or PAGES:
        folder = output / name
        folder.mkdir(parents=True, exist_ok=True)
        pages.append(import_module(PAGES[name]).build(folder, console))
    index = site.write(output, pages)
    console.print(f"\nDone in {perf_counter() - start:.0f} s. Open [bold]{index}[/] in a browser.")
    return index
