"""Handwritten digits that are turned, scaled, shifted, seen from aside or bent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyfast.data._random import Seed, normal, uniform
from pyfast.data.digits import digits
from pyfast.data.generated import Generated, part_of
from pyfast.nn._transforms import control_points
from pyfast.ops import grid_sample, homography_grid_sample, thin_plate_spline_grid

CORNERS = control_points(2)
BENT_POINTS = control_points(4)


@dataclass(frozen=True)
class Distortion:
    """How far a digit is from the middle of an image, upright and flat, at most.

    Args:
        fill: its side over that of the image.
        rotation: degrees, either way.
        scale: factors between which its size lies, evenly in the logarithm.
        shift: part of the room beside it that it uses, 0 to 1.
        corners: standard deviation by which its corners move, in halves of its side; at most twice
            that, so that it stays convex.
        bend: the same for 16 control points of a thin-plate spline, without a limit.
    """

    fill: float = 0.7
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    corners: float = 0.0
    bend: float = 0.0

    def draw(self, images: Tensor, size: int, seed: Seed, indices: Sequence[int]) -> Tensor:
        """Images (N, 1, h, w), each distorted by what belongs to its index, (N, 1, size, size)."""
        matrices = self.matrices(seed, indices)
        if not self.bend:
            return homography_grid_sample(images, matrices, (size, size))
        # A spline through an affine map of all points is that map.
        target = _apply(matrices, BENT_POINTS)
        target = target + self.bend * normal((*_tuple(seed), 1), indices, 32).view(-1, 16, 2)
        grid = thin_plate_spline_grid(BENT_POINTS, target, (size, size), False)
        return grid_sample(images, grid, align_corners=False)

    def matrices(self, seed: Seed, indices: Sequence[int]) -> Tensor:
        """Homographies from the image to the digit, both over [-1, 1], (N, 3, 3)."""
        random = uniform(seed, indices, 4) * 2 - 1
        low, high = map(math.log, self.scale)
        side = self.fill * (low + (high - low) * (random[:, :1, None] + 1) / 2).exp()
        angle = math.radians(self.rotation) * random[:, 1]
        centre = random[:, None, 2:] * self.shift * (1 - side).clamp(min=0)
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2)
        moved = normal((*_tuple(seed), 2), indices, 8).clamp(-2, 2).view(-1, 4, 2)
        corners = CORNERS + self.corners * moved
        return _homographies(centre + side * corners @ turn)


DISTORTIONS = {
    "none": Distortion(),
    "rotation": Distortion(fill=0.5, rotation=90),
    "scale": Distortion(fill=0.5, scale=(0.6, 1.5)),
    "shift": Distortion(fill=0.5, shift=1),
    "similarity": Distortion(fill=0.5, rotation=90, scale=(0.6, 1.5), shift=1),
    "projective": Distortion(scale=(0.75, 1.0), corners=0.2),
    "elastic": Distortion(scale=(0.75, 1.0), bend=0.2),
}


class DistortedDigits(Generated):
    """Handwritten digits under one distortion; an image is (1, size, size), ink is 1.

    Args:
        distortion: a key of `DISTORTIONS`: "none", "rotation" (up to 90 degrees either way),
            "scale", "shift" (the whole image), "similarity" (all three), "projective" or "elastic".
        split: "train" or "test", which share no digit.
        size: height and width of an image, default: 28.
        seed: of the distortions, default: 0.

    Raises:
        ValueError: another distortion or split.

    Reference: Jaderberg et al., Spatial Transformer Networks, 2015, section 4.1 and appendix.

    >>> image, label = DistortedDigits("rotation")[0]
    >>> image.shape
    torch.Size([1, 28, 28])
    """

    def __init__(
        self, distortion: str = "rotation", split: str = "train", size: int = 28, seed: int = 0
    ) -> None:
        super().__init__(split, size, seed)
        if distortion not in DISTORTIONS:
            raise ValueError(
                f"distortion: expected one of {', '.join(DISTORTIONS)}, got {distortion!r}"
            )
        self.distortion = DISTORTIONS[distortion]
        images, labels = digits()
        part = part_of(split, len(labels))
        self.images, self.labels = images[part], labels[part]

    def draw(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        which = torch.as_tensor(indices) % len(self.labels)
        images = self.distortion.draw(self.images[which], self.size, self.key, indices)
        return images, self.labels[which]


def _homographies(corners: Tensor) -> Tensor:
    """The homographies (N, 3, 3) that take four points (N, 4, 2) to those of the unit square."""
    x, y = corners.double().unbind(-1)
    u, v = CORNERS.double().expand(len(corners), 4, 2).unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [
        torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1),
        torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1),
    ]
    entries = torch.linalg.solve(torch.cat(rows, dim=1), torch.cat([u, v], dim=1))
    ones = entries.new_ones(len(entries), 1)
    return torch.cat([entries, ones], dim=1).view(-1, 3, 3).float()


def _apply(matrices: Tensor, points: Tensor) -> Tensor:
    """Points (K, 2) under homographies (N, 3, 3), (N, K, 2)."""
    homogeneous = torch.cat([points, torch.ones(len(points), 1)], dim=1) @ matrices.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def _tuple(seed: Seed) -> tuple[int, ...]:
    return seed if isinstance(seed, tuple) else (seed,)
