"""Folders of pictures with a label for every pixel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyfast._files import pictures_in
from pyfast.data._folders import TEST_EVERY, by_stem, listed, of_split
from pyfast.data.image_files import as_rgb, read_image
from pyfast.ops._pictures import read_picture

Sample = tuple[Tensor, Tensor]


class LabelledPictures(Dataset[Sample]):
    """Picture files with masks, whose pixels are label numbers.

    A sample is the picture, red, green, blue in [0, 1], (3, H, W), and its labels, int64 (H, W).
    What is transparent counts as black.

    Args:
        files: (picture, mask), one pair for each sample. A mask is a PNG with a palette, or grey.
        classes: how many labels there are.
        ignore_label: of pixels that belong to none, default: 255.

    Raises:
        ValueError: no files; on access a mask of another size or mode, or with other labels.
    """

    # Pictures of several sizes do not stack.
    collate: ClassVar[Callable[[list[Sample]], list[Sample]]] = list

    def __init__(
        self, files: Sequence[tuple[Path, Path]], classes: int, ignore_label: int = 255
    ) -> None:
        if not files:
            raise ValueError("expected at least one picture with a mask, got none")
        self.files, self.classes, self.ignore_label = list(files), classes, ignore_label

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        picture, mask = self.files[index]
        pixels, _ = read_picture("LabelledPictures", str(picture), read_image(picture))
        image = as_rgb(pixels.float())[0]
        labels = self.labels(index)
        if labels.shape != image.shape[1:]:
            raise ValueError(
                f"{mask}: expected a mask of the picture's size, {image.shape[2]} x "
                f"{image.shape[1]}, got {labels.shape[1]} x {labels.shape[0]}"
            )
        return image, labels

    def labels(self, index: int) -> Tensor:
        """The labels of one mask, int64 (H, W)."""
        mask = self.files[index][1]
        picture = read_image(mask)
        if picture.mode not in ("P", "L", "1", "I", "I;16"):
            raise ValueError(
                f"{mask}: expected a mask of label numbers, as a PNG with a palette or in grey, "
                f"got colours ({picture.mode}): which label each colour stands for is not known"
            )
        labels = torch.from_numpy(np.array(picture).astype(np.int64))
        outside = (labels < 0) | (labels >= self.classes)
        wrong = labels[outside & (labels != self.ignore_label)]
        if wrong.numel():
            found = listed(list(map(str, wrong.unique().tolist())))
            raise ValueError(
                f"{mask}: expected labels from 0 to {self.classes - 1}, or {self.ignore_label} to "
                f"ignore, got {found}"
            )
        return labels

    def check(self) -> Tensor:
        """Reads everything once and counts the pixels of each label, int64 (classes,).

        Raises:
            ValueError: something is wrong with some files; all of them are named.

        Warns:
            UserWarning: labels that never occur, or masks in which every pixel is ignored.
        """
        counts = torch.zeros(self.classes, dtype=torch.int64)
        problems, empty = [], []
        for index, (_, mask) in enumerate(self.files):
            try:
                labels = self[index][1]
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            counted = labels[labels != self.ignore_label]
            counts += counted.bincount(minlength=self.classes)
            if not counted.numel():
                empty.append(mask.name)
        if problems:
            texts = listed(problems, "\n")
            raise ValueError(f"{len(problems)} of {len(self)} pictures:\n{texts}")
        if empty:
            warnings.warn(f"every pixel is ignored in {listed(empty)}", stacklevel=2)
        absent = [str(label) for label, count in enumerate(counts.tolist()) if not count]
        if absent:
            warnings.warn(f"no pixel has the label {listed(absent)}", stacklevel=2)
        return counts


def segmentation_folder(
    root: str | Path, split: str = "train", *, classes: int, ignore_label: int = 255
) -> LabelledPictures:
    """The pictures of a folder in one of these forms.

    - Pascal VOC: `JPEGImages`, `SegmentationClassAug` or `SegmentationClass`, and
      `ImageSets/Segmentation/<split>.txt` with a name in each line. "test" is `val.txt`, and
      "train" is `trainaug.txt` where there are the masks of Hariharan et al.
    - `images/train`, `masks/train`, `images/test` (or `val`), `masks/test`.
    - `images` and `masks`; every fifth picture is for tests.

    A picture and its mask have the same name but for the suffix.

    Args:
        root: the folder.
        split: "train" or "test".
        classes: how many labels there are.
        ignore_label: of pixels that belong to none, default: 255.

    Raises:
        FileNotFoundError: no such folder, list or file.
        ValueError: another split or form, no pictures, or some without a mask or of one name, which
            are named.
    """
    root = Path(root)
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    if (root / "JPEGImages").is_dir():
        files = _voc_files(root, split)
    elif (root / "images").is_dir() and (root / "masks").is_dir():
        files = _folder_files(root, split)
    else:
        raise ValueError(
            f"{root}: expected JPEGImages and SegmentationClass, or images and masks, got "
            f"{listed(sorted(p.name for p in root.iterdir())) or 'nothing'}"
        )
    if not files:
        raise ValueError(
            f"{root}: no picture with a mask for {split}; of folders that are not split, every "
            f"{TEST_EVERY}th is for tests"
        )
    return LabelledPictures(files, classes, ignore_label)


def _voc_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    more = root / "SegmentationClassAug"
    masks = more if more.is_dir() else root / "SegmentationClass"
    lists = root / "ImageSets" / "Segmentation"
    names = ("val",) if split == "test" else ("trainaug", "train_aug", "train")
    names = names if split == "test" or more.is_dir() else ("train",)
    found = [lists / f"{name}.txt" for name in names if (lists / f"{name}.txt").is_file()]
    if not found:
        raise FileNotFoundError(f"{lists}: there is no {' or '.join(names)}.txt")
    stems = [name for line in found[0].read_text().splitlines() if (name := line.strip())]
    pictures = _by_stem(root / "JPEGImages")
    return _pairs({stem: pictures.get(stem) for stem in stems}, _by_stem(masks), masks)


def _folder_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    folders = [split] if split == "train" else ["test", "val"]
    for folder in folders:
        if (root / "images" / folder).is_dir():
            masks = root / "masks" / folder
            return _pairs(_by_stem(root / "images" / folder), _by_stem(masks), masks)
    chosen = of_split(sorted(_by_stem(root / "images").items()), split)
    return _pairs(dict(chosen), _by_stem(root / "masks"), root / "masks")


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    return by_stem(pictures_in(folder))


def _pairs(
    pictures: dict[str, Path] | dict[str, Path | None], masks: dict[str, Path], folder: Path
) -> list[tuple[Path, Path]]:
    missing = [stem for stem, picture in pictures.items() if not picture or stem not in masks]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} names have no picture or no mask: {listed(missing)}"
        )
    return [(picture, masks[stem]) for stem, picture in pictures.items() if picture]
