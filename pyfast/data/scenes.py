"""Generated pictures of shapes, with the label of every pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

LENGTHS = {"train": 20_000, "test": 64}
NOISE = 0.1
# Colours of labels lie 120 degrees apart around grey; each object's strays to either side.
CONTRAST, STRAY = 0.35, 45
AROUND_GREY = np.array([[2, -1, -1], [0, 3**0.5, -(3**0.5)]]) / 6**0.5


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Noisy pictures with discs, squares and triangles of several sizes, which are the labels.

    Objects of a label have similar colours, which noise hides from a network that looks at a few
    pixels; small ones and outlines are lost to one that sees only the whole. Each sample is a
    function of the seed, the split and its index.

    Args:
        split: "train" or "test", which share no random numbers.
        size: height and width in pixels, default: 65.
        seed: of all that is random, default: 0.
        halves: the smallest and the largest half of an object's side, over that of the picture.

    Attributes:
        labels: names of the labels, "background" first.

    Raises:
        ValueError: another split.

    Example:
        >>> image, labels = Scenes("train", 48)[0]
        >>> image.shape, labels.shape, image.dtype, labels.dtype
        (torch.Size([3, 48, 48]), torch.Size([48, 48]), torch.float32, torch.int64)
    """

    labels = ("background", "disc", "square", "triangle")

    def __init__(
        self,
        split: str = "train",
        size: int = 65,
        seed: int = 0,
        halves: tuple[float, float] = (0.08, 0.35),
    ) -> None:
        if split not in LENGTHS:
            raise ValueError(f"split: expected train or test, got {split!r}")
        self.split, self.size, self.seed, self.halves = split, size, seed, halves

    def __len__(self) -> int:
        return LENGTHS[self.split]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Red, green, blue in [0, 1], (3, size, size), and labels, int64 (size, size)."""
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index from 0 to {len(self) - 1}, got {index}")
        random = np.random.default_rng((self.seed, list(LENGTHS).index(self.split), index))
        image, labels = _draw(random, self.size, self.halves)
        return torch.from_numpy(image), torch.from_numpy(labels)


def _draw(
    random: np.random.Generator, size: int, halves: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((3, size, size), random.uniform(0.35, 0.65))
    labels = np.zeros((size, size), np.int64)
    rows, columns = np.mgrid[:size, :size]
    # Large ones first, so that none is hidden.
    low, high = np.log(halves)
    drawn = np.exp(random.uniform(low, high, random.integers(2, 6)))
    for half in -np.sort(-drawn * size):
        label = int(random.integers(1, 4))
        middle = random.uniform(half, size - half, 2)
        inside = _shape(
            label, rows - middle[0], columns - middle[1], half, random.uniform(-0.3, 0.3)
        )
        hue = np.radians(120 * label + random.uniform(-STRAY, STRAY))
        direction = np.array([np.cos(hue), np.sin(hue)]) @ AROUND_GREY
        colour = random.uniform(0.35, 0.65) + CONTRAST * direction[:, None]
        image[:, inside], labels[inside] = colour, label
    noisy = image + NOISE * random.standard_normal(image.shape)
    return noisy.clip(0, 1).astype(np.float32), labels


def _shape(label: int, y: np.ndarray, x: np.ndarray, half: float, angle: float) -> np.ndarray:
    """Pixels inside a disc, a square or a triangle of the same area, turned by an angle."""
    sides = {1: 0, 2: 4, 3: 3}[label]
    if not sides:
        inside: np.ndarray = np.hypot(y, x) < half
        return inside
    # A regular polygon is what is near enough to the middle in the directions of all its sides.
    directions = angle + 2 * np.pi * np.arange(sides) / sides
    apothem = half * np.sqrt(np.pi / (sides * np.tan(np.pi / sides)))
    distances = [np.cos(d) * x + np.sin(d) * y for d in directions]
    return np.max(distances, axis=0) < apothem
