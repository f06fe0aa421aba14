"""Chance that depends on nothing but the seed, the epoch and the sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import Dataset

from pyfast.data._random import seed_of


class SampleIndex(int):
    """A sample's number that also knows the epoch and the seed of the run that draws it."""

    epoch: int
    seed: int

    def __new__(cls, index: int, epoch: int = 0, seed: int = 0) -> SampleIndex:
        self = super().__new__(cls, index)
        self.epoch, self.seed = epoch, seed
        return self


def generator(index: int) -> torch.Generator:
    """A random generator for one sample in one epoch of one run.

    Args:
        index: as a data set's `__getitem__` gets it. From a trainer it is a `SampleIndex`; a plain
            number counts as epoch 0 of seed 0.
    """
    seed = seed_of(getattr(index, "seed", 0), getattr(index, "epoch", 0), int(index))
    return torch.Generator().manual_seed(seed)


class Augmented(Dataset[Any]):
    """A data set whose samples are changed at random, the same way in every run with one seed.

    Args:
        dataset: gives samples by number.
        transform: takes a sample and a `torch.Generator`, which is all the chance it may use.

    Example:
        >>> def flip(sample, generator):
        ...     image, label = sample
        ...     coin = torch.rand((), generator=generator)
        ...     return (image.flip(-1) if coin < 0.5 else image), label
    """

    def __init__(self, dataset: Any, transform: Callable[[Any, torch.Generator], Any]) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.dataset[index], generator(index))
