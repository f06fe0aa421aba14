"""Pictures whose class lies in two small parts, as that of a bird in its beak and its feathers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyfast.data._random import choice, uniform
from pyfast.data.generated import Generated
from pyfast.data.photographs import crops

RADIUS = 0.22  # of a part, in halves of the image
PERIOD = 4.0  # of the stripes in pixels
COLOURS = torch.tensor([[1.0, 0.3, 0.2], [0.2, 0.5, 1.0]])  # of head and body


class TwoParts(Generated):
    """A red head and a blue body with fine stripes, somewhere over a photograph.

    The directions of both stripings make the class, so that a view of one part alone does not tell
    it. An image is (3, size, size), a label a number below
    kinds * kinds: that of the head times `kinds` plus that of the body.

    Args:
        split: "train" or "test", which share no part of the photograph.
        size: height and width of an image, default: 64.
        kinds: directions that stripes can have, default: 4.
        seed: of all that is random, default: 0.

    >>> image, label = TwoParts()[0]
    >>> image.shape
    torch.Size([3, 64, 64])
    """

    def __init__(self, split: str = "train", size: int = 64, kinds: int = 4, seed: int = 0) -> None:
        super().__init__(split, size, seed)
        self.kinds = kinds

    def draw(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        kinds = choice((*self.key, 0), indices, 2, self.kinds)
        images = 0.3 + 0.4 * crops(self.split, self.size, (*self.key, 1), indices)
        place = uniform((*self.key, 2), indices, 4)
        line = (torch.arange(self.size) + 0.5) / self.size * 2 - 1
        x, y = line[None, None, :], line[None, :, None]
        for part, colour in enumerate(COLOURS):
            # One on the left and one on the right, either way round.
            swapped = place[:, 0] < 0.5 if part else place[:, 0] >= 0.5
            centre_x = (0.25 + 0.5 * place[:, 1]) * torch.where(swapped, 1.0, -1.0)
            centre_y = (1 - RADIUS) * (2 * place[:, 2 + part] - 1)
            dx, dy = x - centre_x[:, None, None], y - centre_y[:, None, None]
            inside = ((RADIUS - torch.hypot(dx, dy)) * self.size / 2 + 0.5).clamp(0, 1)
            angle = math.pi * kinds[:, part, None, None] / self.kinds
            across = (dx * angle.cos() + dy * angle.sin()) * self.size / 2
            stripes = 0.5 + 0.5 * torch.sin(2 * math.pi / PERIOD * across)
            pixels = colour[None, :, None, None] * stripes[:, None]
            images = torch.lerp(images, pixels, inside[:, None])
        return images, kinds[:, 0] * self.kinds + kinds[:, 1]
