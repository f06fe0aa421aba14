"""What generated data sets share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

LENGTHS = {"train": 60_000, "test": 2_000}
TEST_PART = 0.28


class Generated(Dataset[tuple[Tensor, Tensor]]):
    """Samples that are made when they are asked for, each a function of the seed and its index.

    Args:
        split: "train" or "test"; they share neither random numbers nor what is drawn.
        size: height and width of an image in pixels.
        seed: of all that is random.

    Raises:
        ValueError: another split.
    """

    def __init__(self, split: str, size: int, seed: int = 0) -> None:
        if split not in LENGTHS:
            raise ValueError(f"split: expected train or test, got {split!r}")
        self.split, self.size = split, size
        self.key = (seed, list(LENGTHS).index(split))

    @abstractmethod
    def draw(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (N, C, size, size), float32 in [0, 1], and labels (N, ...), int64."""

    def __len__(self) -> int:
        return LENGTHS[self.split]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Several at once, which `DataLoader` prefers."""
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"expected an index from 0 to {len(self) - 1}, got {index}")
        return list(zip(*self.draw(indices), strict=True))


def part_of(split: str, count: int) -> Tensor:
    """Which of `count` things a split draws: train and test share none."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    tests = round(TEST_PART * count)
    return order[:tests] if split == "test" else order[tests:]
