"""Scenes of two handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyfast.data._random import choice, uniform
from pyfast.data.digits import digits
from pyfast.data.distorted_digits import Distortion
from pyfast.data.generated import Generated, part_of
from pyfast.ops import homography_grid_sample

IN_ITS_CELL = Distortion(fill=0.7, rotation=45, scale=(0.7, 1.0), shift=1)


class TwoDigits(Generated):
    """Two digits in an image, one in each half; each is turned, scaled and shifted on its own.

    An image is (1, size, size), ink is 1; labels are those of the left and the right digit, (2,).

    Args:
        split: "train" or "test", which share no digit.
        size: height and width of an image, default: 40.
        seed: of the scenes, default: 0.

    Reference: Jaderberg et al., Spatial Transformer Networks, 2015, appendix (there the digits lie
        in two channels, and the network tells their sum).

    >>> image, labels = TwoDigits()[0]
    >>> image.shape, labels.shape
    (torch.Size([1, 40, 40]), torch.Size([2]))
    """

    def __init__(self, split: str = "train", size: int = 40, seed: int = 0) -> None:
        super().__init__(split, size, seed)
        images, labels = digits()
        part = part_of(split, len(labels))
        self.images, self.labels = images[part], labels[part]

    def draw(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        which = choice((*self.key, 0), indices, 2, len(self.labels))
        heights = uniform((*self.key, 1), indices, 2) - 0.5
        halves = []
        for side, centre in enumerate((-0.5, 0.5)):
            to_cell = torch.eye(3).mul(2).repeat(len(indices), 1, 1)
            to_cell[:, 0, 2], to_cell[:, 1, 2], to_cell[:, 2, 2] = (
                -2 * centre,
                -2 * heights[:, side],
                1,
            )
            to_digit = IN_ITS_CELL.matrices((*self.key, 2 + side), indices) @ to_cell
            images = self.images[which[:, side]]
            halves.append(homography_grid_sample(images, to_digit, (self.size, self.size)))
        return torch.maximum(*halves), self.labels[which]
