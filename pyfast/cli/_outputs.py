"""Which pictures a command reads and which files it writes."""

from collections.abc import Iterable
from pathlib import Path

import typer

from pyfast._files import some_pictures_in


def outputs(image: Path, output: Path) -> list[tuple[Path, Path]]:
    """A picture and the PNG file that is made of it, or all of a folder.

    Raises:
        typer.BadParameter: with what is wrong.
    """
    if not image.exists():
        raise typer.BadParameter(f"{image}: there is no such file or folder")
    if not image.is_dir():
        if output.suffix.lower() != ".png":
            raise typer.BadParameter(f"expected the output to be a .png file, got {output}")
        if not output.parent.is_dir():
            raise typer.BadParameter(f"{output.parent}: there is no such folder")
        return [(image, output)]
    try:
        pictures = some_pictures_in(image)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    stems = [path.stem for path in pictures]
    twice = [path.name for path in pictures if stems.count(path.stem) > 1]
    if twice:
        raise typer.BadParameter(f"{image}: {', '.join(twice)} would be written to one file")
    return [(path, output / f"{path.stem}.png") for path in pictures]


def expect_apart(read: Iterable[Path], written: Iterable[Path]) -> None:
    """Refuses to write over what is read, or two results to one file.

    Raises:
        typer.BadParameter: with the file.
    """
    taken = {path.resolve(): "is read too" for path in read}
    for path in written:
        place = path.resolve()
        if place in taken:
            raise typer.BadParameter(f"{path} would be written, but {taken[place]}")
        taken[place] = "another result has the same name"
