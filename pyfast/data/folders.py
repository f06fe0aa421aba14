"""Folders of the user's own pictures: with classes, in pairs that belong together, in pairs by lot.

Every data set reads a picture when it is asked for. `check()` reads all of them once and names
every file that is damaged or of another size, which is better known before a night of training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from pyfast._files import PICTURES, pictures_in, some_pictures_in
from pyfast.data._folders import TEST_EVERY, by_stem, listed, of_split
from pyfast.data.augmentation import generator
from pyfast.data.image_files import read_image, squared
from pyfast.ops._pictures import read_picture

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Size = int | tuple[int, int] | None


class PictureFolder(Dataset[Any]):
    """What folders of pictures share.

    Args:
        size: height and width to which every picture is resized, without regard to its aspect, or
            one number for a square; None: the pictures have one size, which is kept.
        channels: 1 (grey), 3 (red, green, blue) or 4 (with alpha), default: 3.

    Raises:
        ValueError: another size or number of channels.
    """

    def __init__(self, size: Size = None, channels: int = 3) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        if channels not in MODES or (self.size is not None and min(self.size) < 1):
            raise ValueError(
                f"expected channels 1, 3 or 4 and a positive size, got {channels} and {size}"
            )
        self.channels = channels

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Any: ...

    def check(self) -> None:
        """Reads everything once.

        Raises:
            ValueError: something is wrong with some files; they are named.
        """
        problems = []
        for index in range(len(self)):
            try:
                self[index]
            except (ValueError, OSError) as error:
                problems.append(str(error))
        if problems:
            texts = listed(problems, "\n")
            raise ValueError(f"{len(problems)} of {len(self)} samples:\n{texts}")

    def read(self, file: Path) -> Tensor:
        """A picture as it is, (channels, H, W) in [0, 1]."""
        picture = read_image(file)
        if picture.mode.startswith("I"):  # 16 bits, of which Pillow's `convert` makes white
            grey = read_picture(type(self).__name__, str(file), picture)[0][0].float()
            image = grey.expand(min(self.channels, 3), -1, -1)
            return torch.cat([image, torch.ones_like(grey)]) if self.channels == 4 else image
        pixels = np.array(picture.convert(MODES[self.channels]), np.float32) / 255
        return torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1)

    def fitted(self, image: Tensor, file: Path, first: Path) -> Tensor:
        """A picture in the size that all have.

        Args:
            image: the picture.
            file: where it comes from.
            first: the file whose size it must have if no size was given.

        Raises:
            ValueError: it is of another size than the first.
        """
        if self.size:
            return F.interpolate(image[None], self.size, mode="bilinear", antialias=True)[0]
        found, wanted = _written(image), "{} x {}".format(*_size(first))
        if found != wanted:
            raise ValueError(
                f"{file}: expected the size of {first.name}, {wanted}, got {found}; give a size to "
                "resize all"
            )
        return image


def _written(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"


@lru_cache(maxsize=64)
def _size(file: Path) -> tuple[int, int]:
    """Width and height of an upright picture."""
    return read_image(file).size


class ImageFolder(PictureFolder):
    """A folder that has one folder of pictures for each class: `root/cat/1.jpg`.

    A sample is (image, label): (channels, H, W) in [0, 1], and the number of its class.

    Args:
        root: the folder. Pictures may lie deeper in the folder of their class.
        size: height and width to which every picture is resized, without regard to its aspect;
            None: the pictures have one size, which is kept.
        channels: 1, 3 or 4, default: 3.

    Attributes:
        classes: names of the classes, sorted.
        files: (file, number of its class).

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no folders of classes in it, or one without pictures.

    Example:
        >>> data = ImageFolder("animals", size=64)                # doctest: +SKIP
        >>> train(system, "runs/animals", data=data)              # doctest: +SKIP
    """

    def __init__(self, root: str | Path, size: Size = None, channels: int = 3) -> None:
        super().__init__(size, channels)
        root = Path(root)
        found = {
            folder.name: pictures_in(folder, "**/*")
            for folder in sorted(_folder(root).iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
        }
        empty = [name for name, files in found.items() if not files]
        if not found or empty:
            raise ValueError(
                f"{root}: no picture in {listed(empty)} ({', '.join(PICTURES)})"
                if empty
                else f"{root}: expected a folder of pictures for each class, got no folder"
            )
        self.classes = tuple(found)
        self.files = [(file, label) for label, files in enumerate(found.values()) for file in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        return self.fitted(self.read(file), file, self.files[0][0]), label


class ClassificationFolder(ImageFolder):
    """An `ImageFolder` to learn from, with pictures set aside for tests, as `zoo.classify` sees it.

    Pictures are padded to squares and resized, see `squared`. Those for tests lie in a folder of
    their own, `root/train/cat/1.jpg` and `root/test/cat/2.jpg` (or `val`); if not, they are every
    fifth of each class.

    Args:
        root: the folder.
        split: "train" or "test".
        size: side of a picture in pixels.
        channels: 1 or 3, default: 3. For 1 pictures with colours are refused.
        classes: names that the classes must have, in the order of their numbers; default: those
            found, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: another split; no pictures, none for tests, or a class that is missing or not
            expected; on access a file that is damaged or has colours.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        size: int = 64,
        channels: int = 3,
        classes: Sequence[str] = (),
    ) -> None:
        if split not in ("train", "test") or channels not in (1, 3):
            raise ValueError(
                f"expected split train or test and channels 1 or 3, got {split!r} and {channels}"
            )
        part = _part(Path(root), split)
        super().__init__(part or root, size, channels)
        self.side = size
        names = tuple(classes) or self.classes
        missing = [name for name in names if name not in self.classes]
        unknown = [name for name in self.classes if name not in names]
        if missing or unknown:
            wrong = f"no {listed(missing)}" if missing else f"also {listed(unknown)}"
            raise ValueError(
                f"{part or root}: expected a folder for each of {listed(names)}, got {wrong}"
            )
        self.files = [(file, names.index(self.classes[label])) for file, label in self.files]
        self.classes = names
        if part is None:
            by_class = groupby(self.files, key=itemgetter(1))
            self.files = [file for _, own in by_class for file in of_split(list(own), split)]
        if not self.files:
            raise ValueError(
                f"{root}: expected at least {TEST_EVERY} pictures of a class, of which one is for "
                "tests, or the folders train and test"
            )

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        pixels, _ = read_picture("ClassificationFolder", "picture", read_image(file))
        if self.channels == 1 and (pixels[:, :3] != pixels[:, :1]).any():
            raise ValueError(
                f"{file}: expected a grey picture, got colours, which channels=3 would take"
            )
        return squared(pixels.float(), self.channels, self.side)[0], label


class AlignedPairs(PictureFolder):
    """Pairs of pictures of the same thing, such as edges and photographs.

    A sample is (first, second), each (channels, H, W) in [0, 1].

    Args:
        first: folder of pictures.
        second: folder of pictures of the same names but for the suffix. None: every picture in
            `first` shows both, one left, one right, as pix2pix's data sets.
        size: of one picture, height and width, to which all are resized; None: the pictures have
            one size, which is kept.
        channels: 1, 3 or 4, default: 3.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures, or some without a partner, which are named; on access partners of
            different sizes.
    """

    def __init__(
        self,
        first: str | Path,
        second: str | Path | None = None,
        size: Size = None,
        channels: int = 3,
    ) -> None:
        super().__init__(size, channels)
        self.joined = second is None
        here = _named(Path(first))
        there = here if second is None else _named(Path(second))
        alone = [here[name].name for name in here if name not in there]
        alone += [there[name].name for name in there if name not in here]
        if alone:
            raise ValueError(f"{first} and {second}: no partner for {listed(alone)}")
        self.files = [(here[name], there[name]) for name in here]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        (one, other), lead = self.files[index], self.files[0]
        if self.joined:
            return self._halves(one)
        first, second = self.read(one), self.read(other)
        if first.shape != second.shape:
            raise ValueError(
                f"{other}: expected the size of its partner {one}, {_written(first)}, got "
                f"{_written(second)}"
            )
        return self.fitted(first, one, lead[0]), self.fitted(second, other, lead[1])

    def _halves(self, file: Path) -> tuple[Tensor, Tensor]:
        both = self.read(file)
        if both.shape[2] % 2:
            raise ValueError(f"{file}: expected two halves of one width, got {_written(both)}")
        if not self.size:
            both = self.fitted(both, file, self.files[0][0])
        left, right = both.chunk(2, dim=2)
        if not self.size:
            return left, right
        return self.fitted(left, file, file), self.fitted(right, file, file)


class UnalignedPairs(PictureFolder):
    """A picture of one folder with one of another, drawn by lot, such as horses and zebras.

    A sample is (first, second), each (channels, H, W) in [0, 1]. An epoch has as many as the larger
    folder; the smaller one is gone through several times. The second is drawn anew in each epoch,
    as a function of the run's seed: see `generator`.

    Args:
        first: folder of pictures.
        second: folder of pictures.
        size: height and width to which all are resized; None: the pictures of a folder have one
            size, which is kept.
        channels: 1, 3 or 4, default: 3.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures in one.
    """

    def __init__(
        self, first: str | Path, second: str | Path, size: Size = None, channels: int = 3
    ) -> None:
        super().__init__(size, channels)
        self.first = list(_named(Path(first)).values())
        self.second = list(_named(Path(second)).values())

    def __len__(self) -> int:
        return max(len(self.first), len(self.second))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index from 0 to {len(self) - 1}, got {int(index)}")
        lot = int(torch.randint(len(self.second), (), generator=generator(index)))
        one, other = self.first[index % len(self.first)], self.second[lot]
        return (
            self.fitted(self.read(one), one, self.first[0]),
            self.fitted(self.read(other), other, self.second[0]),
        )

    def check(self) -> None:
        for files in (self.first, self.second):
            _Files(files, self).check()


class _Files(PictureFolder):
    """Each of some files once."""

    def __init__(self, files: Sequence[Path], like: PictureFolder) -> None:
        super().__init__(like.size, like.channels)
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        file = self.files[index]
        return self.fitted(self.read(file), file, self.files[0])


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: there is no such folder")
    return path


def class_names(root: str | Path) -> tuple[str, ...]:
    """Names of the classes that a folder has for `ClassificationFolder`, in their order.

    Raises:
        FileNotFoundError, ValueError: as `ImageFolder`.
    """
    return ImageFolder(_part(Path(root), "train") or root).classes


def _part(root: Path, split: str) -> Path | None:
    """The folder of a split, of a folder that is split."""
    train = root / "train"
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if test is None or not train.is_dir():
        return None
    return train if split == "train" else test


def _named(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without suffixes."""
    return by_stem(some_pictures_in(_folder(folder)))
