"""What data sets of folders share: which files are for tests, and how many are named in a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

SHOWN = 8
TEST_EVERY = 5

Thing = TypeVar("Thing")


def of_split(things: Sequence[Thing], split: str) -> list[Thing]:
    """Of things that nobody has split every fifth for "test", the others for "train"."""
    is_test = split == "test"
    return [x for number, x in enumerate(things, 1) if (number % TEST_EVERY == 0) == is_test]


def by_stem(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names without suffixes.

    Raises:
        ValueError: two have the same.
    """
    found = {file.stem: file for file in files}
    twice = [file.name for file in files if found[file.stem] != file]
    if twice:
        raise ValueError(f"{files[0].parent}: other pictures have the names of {listed(twice)}")
    return found


def listed(things: Sequence[str], between: str = ", ") -> str:
    """The first of them, with dots for the others."""
    return between.join(things[:SHOWN]) + (f"{between}..." if len(things) > SHOWN else "")
