"""Pictures and their labels, scaled, cropped and mirrored at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Sample = tuple[Tensor, Tensor]


class ScaleCropFlip:
    """Changes a picture and its labels at random; for `Augmented`.

    A factor is drawn from `scales`, then a place for a square of `crop` pixels, and a coin. What is
    smaller than the square is filled up at the right and below.

    Args:
        crop: side of the result in pixels.
        scales: factors of the size.
        flip: whether half of the pictures are mirrored.
        fill: red, green, blue in [0, 1] of what is filled up.
        ignore_label: the label there.
        margin: pixels by which a picture is mirrored outwards first, without labels.
    """

    def __init__(
        self,
        crop: int,
        scales: Sequence[float] = (1.0,),
        flip: bool = True,
        fill: Sequence[float] = (0.0, 0.0, 0.0),
        ignore_label: int = 255,
        margin: int = 0,
    ) -> None:
        self.crop, self.scales, self.flip = crop, tuple(scales), flip
        self.fill, self.ignore_label, self.margin = tuple(fill), ignore_label, margin

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        image, labels = sample
        numbers = torch.rand(4, generator=generator).tolist()
        scale = self.scales[int(numbers[0] * len(self.scales))]
        if scale != 1:
            size = [max(1, int(side * scale)) for side in labels.shape]
            image = F.interpolate(image[None], size, mode="bilinear", antialias=scale < 1)[0]
            labels = F.interpolate(labels[None, None].float(), size, mode="nearest-exact")
            labels = labels[0, 0].long()
        if self.margin:
            image = mirrored(image[None], (self.margin,) * 4)[0]
            labels = F.pad(labels, (self.margin,) * 4, value=self.ignore_label)
        below, right = (max(0, self.crop - side) for side in labels.shape)
        if below or right:
            labels = F.pad(labels, (0, right, 0, below), value=self.ignore_label)
            colour = image.new_tensor(self.fill)[:, None, None]
            image = F.pad(image - colour, (0, right, 0, below)) + colour
        top, left = (
            int(number * (side - self.crop + 1))
            for number, side in zip(numbers[1:3], labels.shape, strict=True)
        )
        rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
        image, labels = image[:, rows, columns], labels[rows, columns]
        if self.flip and numbers[3] < 0.5:
            image, labels = image.flip(-1), labels.flip(-1)
        return image.clamp(0, 1), labels


def mirrored(image: Tensor, around: Sequence[int]) -> Tensor:
    """`image`, (B, C, H, W), with margins (left, right, top, bottom) that mirror it.

    The pixel at the edge is not repeated, and a margin may be wider than the image, unlike in
    `torch.nn.functional.pad`.
    """
    for axis, (before, after) in ((3, around[:2]), (2, around[2:])):
        side = image.shape[axis]
        place = torch.arange(-before, side + after, device=image.device)
        period = max(2 * (side - 1), 1)
        place = place.remainder(period)
        image = image.index_select(axis, torch.minimum(place, period - place).clamp(max=side - 1))
    return image
