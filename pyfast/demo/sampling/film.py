"""What a spatial transformer sees and hands on, filmed during its training."""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from pyfast.demo.pictures import enlarge, mosaic
from pyfast.demo.sampling.digits import EVERYTHING, Split, draw, maps

TILE = 120  # pixels of a digit in the pictures
PAPER, INK, FRAME = (0.07, 0.10, 0.17), (0.98, 0.94, 0.82), (1.0, 0.55, 0.2)
SMOOTH = 4  # lines are drawn this much larger and reduced


@dataclass
class Film:
    """The same test digits, before and behind the transformer, frame by frame."""

    drawn: Tensor
    frames: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, split: Split) -> "Film":
        """One test digit of every class."""
        first = torch.stack([(split.test.labels == label).nonzero()[0, 0] for label in range(10)])
        return cls(draw(split.test.images[first], maps(EVERYTHING, len(first), seed=7)))

    @torch.no_grad()
    def shoot(self, transformer: nn.Module) -> None:
        straight, theta = transformer(self.drawn, return_theta=True)
        seen = enlarge(_colour(self.drawn), TILE)
        framed = [_outline(tile, map) for tile, map in zip(seen, theta, strict=True)]
        rows = torch.stack([torch.stack(framed), enlarge(_colour(straight), TILE)])
        self.frames.append(mosaic(rows, gap=6))


def _mix(below: Tensor, above: tuple[float, float, float], opacity: Tensor) -> Tensor:
    return below + (torch.tensor(above).view(3, 1, 1) - below) * opacity


def _colour(images: Tensor) -> Tensor:
    """Digits (N, 1, H, W) as light ink on dark paper, (N, 3, H, W)."""
    return _mix(torch.tensor(PAPER).view(3, 1, 1), INK, images.clamp(0, 1))


def _outline(tile: Tensor, theta: Tensor) -> Tensor:
    """`tile`, (3, H, W), with the region that the map `theta`, (2, 3), cuts out of it."""
    corners = torch.tensor([[-1.0, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    size = tile.shape[-1] * SMOOTH
    places = ((theta @ corners + 1) / 2 * size).T
    path = [tuple(place) for place in places.tolist()]
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).line([*path, *path[:2]], fill=255, width=2 * SMOOTH, joint="curve")
    mask = mask.resize((tile.shape[-1], tile.shape[-1]), Image.Resampling.BOX)
    return _mix(tile, FRAME, torch.from_numpy(np.asarray(mask) / np.float32(255)))
