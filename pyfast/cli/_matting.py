"""What `pyfast matte` and `pyfast cutout` share: which files, what is known of them, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from torch import Tensor

from pyfast._files import pictures_in
from pyfast._optional import require
from pyfast.cli._outputs import expect_apart, outputs

Image = Annotated[Path, typer.Argument(help="Picture, or folder of pictures.")]
Output = Annotated[Path, typer.Argument(help="PNG file to write, or folder for them.")]
Trimap = Annotated[
    Path | None,
    typer.Option("--trimap", "-t", help="White foreground, black background, grey unknown."),
]
Scribbles = Annotated[
    Path | None,
    typer.Option("--scribbles", "-s", help="The picture with white and black strokes on it."),
]
Bits = Annotated[int, typer.Option("--bits", help="8 or 16 for each value.", metavar="8|16")]
Epsilon = Annotated[float, typer.Option(help="Regularisation; larger for noisy pictures.")]
Radius = Annotated[int, typer.Option(help="Of the windows, in pixels.")]

LARGE = 500_000  # pixels from which on progress is shown


class Job(NamedTuple):
    image: Path
    marks: Path
    output: Path


def command(name: str, render: Callable[..., Tensor], bits: int, help: str) -> Callable[..., None]:
    """A command that renders each picture with what is known of it.

    Args:
        name: of the command.
        render: (image, trimap, callback, epsilon, radius) -> (C, H, W); image is (1, C, H, W),
            trimap (1, H, W).
        bits: of the files, where nobody says otherwise.
        help: what it does, in a line.
    """

    def of_files(
        image: Image,
        output: Output,
        trimap: Trimap = None,
        scribbles: Scribbles = None,
        bits: Bits = bits,
        epsilon: Epsilon = 1e-7,
        radius: Radius = 1,
    ) -> None:
        found = jobs(image, output, trimap, scribbles)
        run(found, scribbles is not None, bits, render, epsilon=epsilon, radius=radius)

    of_files.__name__, of_files.__doc__ = name, help
    return of_files


def jobs(image: Path, output: Path, trimap: Path | None, scribbles: Path | None) -> list[Job]:
    """One for a file; for a folder one for each picture, with the marks of the same name.

    Raises:
        typer.BadParameter: with what is wrong.
    """
    marks = trimap or scribbles
    if marks is None or (trimap and scribbles):
        raise typer.BadParameter("expected one of --trimap and --scribbles")
    if not marks.exists():
        raise typer.BadParameter(f"{marks}: there is no such file or folder")
    found = outputs(image, output)
    if not image.is_dir():
        expect_apart((image, marks), (output,))
        return [Job(image, marks, output)]
    if not marks.is_dir():
        raise typer.BadParameter(
            f"expected a folder of marks for a folder of pictures, got {marks}"
        )
    known = {path.stem: path for path in pictures_in(marks)}
    missing = [path.name for path, _ in found if path.stem not in known]
    if missing:
        raise typer.BadParameter(f"{marks}: there are no marks for {', '.join(missing)}")
    expect_apart((*(path for path, _ in found), *known.values()), (path for _, path in found))
    output.mkdir(parents=True, exist_ok=True)
    return [Job(path, known[path.stem], target) for path, target in found]


def run(
    found: list[Job], drawn: bool, bits: int, render: Callable[..., Tensor], **options: Any
) -> None:
    """Does every job. What fails is told at the end, after the others are done.

    Args:
        found: the jobs.
        drawn: whether the marks are scribbles.
        bits: of the files.
        render: as for `command`.
        options: handed on.
    """
    if bits not in (8, 16):
        raise typer.BadParameter(f"expected --bits to be 8 or 16, got {bits}")
    from pyfast.data import read_image, write_png
    from pyfast.ops import trimap_from_scribbles
    from pyfast.ops._pictures import read_picture, read_plane

    console = require("rich.console", "cli").Console(stderr=True, highlight=False)
    failures = []
    for job in found:
        try:
            image, marks = read_image(job.image), read_image(job.marks)
            trimap = trimap_from_scribbles(image, marks) if drawn else marks
            # As floats, so that files of 16 bits have use for them.
            pixels, _ = read_picture("image", str(job.image), image)
            plane, _ = read_plane("trimap", str(job.marks), trimap, pixels)
            with _progress(console, job.image.name, image.width * image.height) as report:
                rendered = render(pixels[:, :3], plane, callback=report, **options)
            write_png(job.output, rendered, bits)
        except (ValueError, OSError) as error:
            failures.append(f"{job.image}: {error}")
        else:
            console.print(f"{job.output}", soft_wrap=True)
    if failures:
        raise typer.BadParameter("\n".join(failures))


@contextmanager
def _progress(console: Any, name: str, pixels: int) -> Iterator[Callable[..., None] | None]:
    """A bar that fills as the residual falls towards the tolerance; nothing for a small picture."""
    if pixels < LARGE or not console.is_terminal:
        yield None
        return
    progress = require("rich.progress", "cli").Progress(console=console, transient=True)
    with progress:
        task = progress.add_task(name, total=1.0)

        def report(iteration: int, residual: float, goal: float) -> None:
            # Residuals fall about evenly on a logarithmic scale, from 1 to the goal.
            share = log(max(residual, goal)) / log(goal) if 0 < goal < 1 else 0.0
            progress.update(task, completed=min(max(share, 0.0), 1.0))

        yield report
