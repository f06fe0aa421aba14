"""Files that are whole or not there, and which of them are pictures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well.

    A full disk, an exception or a kill leaves what was at `path` before. The temporary file is on
    the same file system, and on the disk before it is renamed.
    """
    path = Path(path)
    handle, name = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())  # mkstemp gives a file that only its owner may read
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what a killed process left of its unfinished writes into a folder of its own."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def pictures_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The files of a folder whose suffixes are those of pictures, sorted; no hidden ones."""
    return sorted(
        file
        for file in folder.glob(pattern)
        if file.suffix.lower() in PICTURES and not file.name.startswith(".")
    )


def some_pictures_in(folder: Path) -> list[Path]:
    """The same, at least one.

    Raises:
        ValueError: there is none.
    """
    files = pictures_in(folder)
    if not files:
        raise ValueError(f"{folder}: there is no picture in it ({', '.join(PICTURES)})")
    return files


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
