"""Generated house numbers: several digits in a row over a photograph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyfast.data._random import choice, uniform
from pyfast.data.digits import digits
from pyfast.data.generated import Generated, part_of
from pyfast.data.photographs import crops
from pyfast.ops import homography_grid_sample

ROTATION = 20.0  # degrees, either way
NOTHING = 10  # the label of a place without a digit


class HouseNumbers(Generated):
    """Numbers of one to `places` digits in colour, turned, scaled and shifted, over a photograph.

    An image is (3, size, size); labels are those of the digits from the left, (places,), 10 after
    the last.

    Args:
        split: "train" or "test", which share no digit and no part of the photograph.
        size: height and width of an image, default: 64.
        places: the most digits a number has, default: 5, as in the Street View house numbers.
        seed: of all that is random, default: 0.

    >>> image, labels = HouseNumbers(places=3)[0]
    >>> image.shape, labels.shape
    (torch.Size([3, 64, 64]), torch.Size([3]))
    """

    def __init__(
        self, split: str = "train", size: int = 64, places: int = 5, seed: int = 0
    ) -> None:
        super().__init__(split, size, seed)
        self.places = places
        images, labels = digits()
        part = part_of(split, len(labels))
        self.images, self.labels = images[part], labels[part]

    def draw(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        which = choice((*self.key, 0), indices, self.places, len(self.labels))
        lengths = 1 + choice((*self.key, 1), indices, 1, self.places)
        ink = self._ink(which, lengths, uniform((*self.key, 2), indices, 4))
        ground = 0.3 + 0.4 * crops(self.split, self.size, (*self.key, 3), indices)
        colours = uniform((*self.key, 4), indices, 3)
        bright = (colours[:, :1] > 0.5).float()  # or dark: both stand out from the ground
        colour = (bright * 0.8 + 0.2 * colours)[:, :, None, None]
        images = (1 - ink) * ground + ink * colour
        empty = torch.arange(self.places) >= lengths
        return images, self.labels[which].masked_fill(empty, NOTHING)

    def _ink(self, which: Tensor, lengths: Tensor, random: Tensor) -> Tensor:
        """How much of a pixel is a digit's, (N, 1, size, size)."""
        # Short numbers have large digits; all stay in the image.
        side = (0.6 + 0.4 * random[:, 0]) * 0.9 / (lengths[:, 0] + 1)
        angle = math.radians(ROTATION) * (2 * random[:, 1] - 1)
        room = 1 - side * (lengths[:, 0] * angle.cos() + angle.sin().abs() + 0.2)
        shift_x = (2 * random[:, 2] - 1) * room
        shift_y = (2 * random[:, 3] - 1) * (1 - side * lengths[:, 0] * angle.sin().abs() - side)
        cos, sin = angle.cos() / side, angle.sin() / side
        ink = torch.zeros(len(which), 1, self.size, self.size)
        for place in range(self.places):
            along = 1.8 * (place - (lengths[:, 0] - 1) / 2)  # in halves of a digit
            matrix = torch.zeros(len(which), 3, 3)
            matrix[:, 0, 0], matrix[:, 0, 1] = cos, sin
            matrix[:, 1, 0], matrix[:, 1, 1] = -sin, cos
            matrix[:, 0, 2] = -cos * shift_x - sin * shift_y - along
            matrix[:, 1, 2] = sin * shift_x - cos * shift_y
            matrix[:, 2, 2] = 1
            drawn = homography_grid_sample(
                self.images[which[:, place]], matrix, (self.size, self.size)
            )
            drawn[place >= lengths[:, 0]] = 0
            ink = torch.maximum(ink, drawn)
        return ink
