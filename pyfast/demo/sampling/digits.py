"""Handwritten digits, rotated, scaled and shifted on a larger canvas."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from pyfast.data import Digits

CANVAS = 40  # pixels, height and width of what the networks see
DIGIT = 20  # the same of an undisturbed digit, in the middle
Backend = Literal["pyfast", "torch"]


class Disturbance(NamedTuple):
    """How far digits are moved, at most."""

    shift: float = (CANVAS - DIGIT) / 2  # pixels each way; larger digits have less room
    rotation: float = 60.0  # degrees, either way
    scale: float = 1.5  # factor, larger or smaller

    def maps(self, count: int, seed: int) -> Tensor:
        """Affine maps from the canvas to a digit, (count, 2, 3); each depends on seed and index."""
        generator = torch.Generator().manual_seed(seed)
        random = torch.rand(count, 4, generator=generator) * 2 - 1
        size = DIGIT * self.scale ** random[:, 0]
        angle = math.radians(self.rotation) * random[:, 1]
        room = self.shift * (CANVAS - size) / (CANVAS - DIGIT)
        shift = random[:, 2:] * room[:, None] / (CANVAS / 2)
        cos, sin = CANVAS / size * angle.cos(), CANVAS / size * angle.sin()
        turn = torch.stack([cos, -sin, sin, cos], dim=1).view(count, 2, 2)
        return torch.cat([turn, -turn @ shift[:, :, None]], dim=2)


NONE = Disturbance(shift=0, rotation=0, scale=1)
EVERYTHING = Disturbance()


def alone(what: str, part: float = 1.0) -> Disturbance:
    """One disturbance, "shift", "rotation" or "scale", at a part of its range, without others."""
    full = getattr(EVERYTHING, what)
    return NONE._replace(**{what: full**part if what == "scale" else full * part})


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
