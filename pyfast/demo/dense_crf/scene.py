"""A photograph, brush strokes on it, and what the colours under them say about every pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from pyfast.data import photograph

Line = tuple[int, int, int, int]  # from x, y to x, y

PHOTOGRAPH = "china"
STROKES: Mapping[str, Sequence[Line]] = {
    "sky": [(360, 40, 610, 70), (20, 30, 80, 130), (345, 165, 540, 175)],
    "lake": [(370, 265, 540, 262), (15, 292, 55, 286)],
    "temple": [
        (150, 122, 285, 118),
        (105, 180, 310, 178),
        (125, 145, 290, 145),
        (110, 218, 310, 212),
        (90, 268, 325, 258),
        (95, 318, 320, 312),
        (230, 378, 345, 345),
    ],
    "trees": [(12, 215, 50, 235), (20, 400, 210, 385), (370, 385, 540, 320), (595, 190, 605, 330)],
}
COLOURS = torch.tensor(
    [[0.42, 0.68, 0.95], [0.10, 0.32, 0.62], [0.85, 0.30, 0.18], [0.25, 0.58, 0.22]]
)
BRUSH = 7  # pixels
SPREAD = 14.0  # of colours around those under a stroke, in steps of 0 to 255
SAMPLES = 80  # pixels that stand for a stroke
TRUST = 0.6  # the part of guesses that is not noise


def image() -> Tensor:
    """The photograph, (1, 3, H, W), uint8."""
    return photograph(PHOTOGRAPH)[None]


def strokes(size: Sequence[int]) -> Tensor:
    """Which label each pixel is painted with, (H, W): 0 for none, else its number plus 1."""
    height, width = size
    canvas = Image.new("L", (width, height))
    brush = ImageDraw.Draw(canvas)
    for label, lines in enumerate(STROKES.values(), start=1):
        for line in lines:
            brush.line(line, fill=label, width=BRUSH)
    return torch.from_numpy(np.array(canvas)).long()


def energies(image: Tensor) -> Tensor:
    """-log p of every label and pixel, (1, L, H, W), by colour alone and with noise.

    p is the mean of Gaussians about the colours under a label's strokes, mixed with even chances;
    then independent noise is added.
    """
    generator = torch.Generator().manual_seed(0)
    painted = strokes(image.shape[2:]).flatten()
    colours = image[0].flatten(1).T.float()
    likelihood = []
    for label in range(1, len(STROKES) + 1):
        known = colours[painted == label]
        known = known[torch.randperm(len(known), generator=generator)[:SAMPLES]]
        likelihood.append(torch.exp(-(torch.cdist(colours, known) / SPREAD).square() / 2).mean(1))
    p = torch.stack(likelihood) + 1e-6
    p = TRUST * p / p.sum(0) + (1 - TRUST) / len(p)
    noise = torch.randn(p.shape, generator=generator)
    return (noise - p.log()).view(1, len(p), *image.shape[2:])


def painted(image: Tensor) -> Tensor:
    """The photograph with its strokes, (3, H, W) in [0, 1]."""
    label = strokes(image.shape[2:])
    colour = COLOURS[(label - 1).clamp_min(0)].permute(2, 0, 1)
    return torch.where(label > 0, colour, 0.35 + 0.65 * image[0] / 255)


def blended(marginals: Tensor) -> Tensor:
    """The colours of all labels as probable as they are, (1, L, H, W) to (3, H, W)."""
    return torch.einsum("lhw,lc->chw", marginals[0], COLOURS)


def smaller(image: Tensor, side: int) -> Tensor:
    """`image` scaled down to a height of `side`, uint8."""
    width = round(side * image.shape[3] / image.shape[2])
    return F.interpolate(image, (side, width), mode="bilinear", antialias=True)
