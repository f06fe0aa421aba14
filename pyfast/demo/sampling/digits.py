"""Handwritten digits, rotated, scaled and shifted on a larger canvas."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from pyfast.data import Digits, Distortion

CANVAS = 40  # pixels, height and width of what the networks see
DIGIT = 20  # the same of an undisturbed digit, in the middle
Backend = Literal["pyfast", "torch"]


NONE = Distortion(fill=DIGIT / CANVAS)
EVERYTHING = replace(NONE, rotation=60, scale=(1 / 1.5, 1.5), shift=1)


def alone(what: str, part: float = 1.0) -> Distortion:
    """One distortion, "shift", "rotation" or "scale", at a part of its range, without others."""
    if what == "scale":
        low, high = EVERYTHING.scale
        return replace(NONE, scale=(low**part, high**part))
    return replace(NONE, **{what: getattr(EVERYTHING, what) * part})


def amount(what: str, part: float = 1.0) -> float:
    """How much that is, in pixels, degrees or as a factor."""
    if what == "scale":
        return EVERYTHING.scale[1] ** part
    return part * ((CANVAS - DIGIT) / 2 if what == "shift" else EVERYTHING.rotation)


def maps(distortion: Distortion, count: int, seed: int) -> Tensor:
    """Affine maps from the canvas to a digit, (count, 2, 3); each depends on seed and index."""
    return distortion.matrices(seed, range(count))[:, :2]


def draw(images: Tensor, maps: Tensor, backend: Backend = "pyfast") -> Tensor:
    """Digits (N, 1, 8, 8) on the canvas, (N, 1, CANVAS, CANVAS), by `maps`, (N, 2, 3)."""
    if backend == "pyfast":
        return pyfast.affine_grid_sample(images, maps, (CANVAS, CANVAS))
    grid = F.affine_grid(maps, [len(images), 1, CANVAS, CANVAS], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@dataclass(frozen=True)
class Split:
    """The digits, those to learn from apart from those to test with."""

    train: Digits
    test: Digits

    @classmethod
    def of(cls, digits: Digits, test_part: float = 0.28) -> "Split":
        order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(0))
        tests = round(test_part * len(order))
        test, train = order[:tests], order[tests:]
        return cls(
            Digits(digits.images[train], digits.labels[train]),
            Digits(digits.images[test], digits.labels[test]),
        )
