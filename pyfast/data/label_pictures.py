"""Labels as colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyfast._files import atomic_write
from pyfast.data.label_sets import LABEL_SETS


def label_colours(count: int = 256, palette: str = "voc") -> Tensor:
    """The colours of labels 0, 1, ..., uint8 (count, 3).

    Args:
        count: of labels.
        palette: a key of `LABEL_SETS`. "voc" has a colour for every label and white for 255; in
            others what is no label of the set is black.

    Raises:
        ValueError: another palette.
    """
    if palette not in LABEL_SETS:
        raise ValueError(f"palette: expected one of {', '.join(LABEL_SETS)}, got {palette!r}")
    own = torch.tensor(LABEL_SETS[palette].colours[:count], dtype=torch.uint8)
    if len(own):
        return torch.cat([own, own.new_zeros(count - len(own), 3)])
    labels = torch.arange(count)
    colours = torch.zeros(count, 3, dtype=torch.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (labels >> (3 * bit + channel) & 1) << (7 - bit)
    colours[255:256] = torch.tensor([224, 224, 192])
    return colours.to(torch.uint8)


def colour_labels(labels: Tensor, palette: str = "voc") -> Tensor:
    """Labels (..., H, W) as colours, uint8 (..., 3, H, W)."""
    return label_colours(palette=palette).to(labels.device)[labels].movedim(-1, -3)


def overlay_labels(
    image: Tensor, labels: Tensor, opacity: float = 0.5, palette: str = "voc"
) -> Tensor:
    """A picture in [0, 1], (..., 3, H, W), under the colours of its labels; black stays clear."""
    colours = colour_labels(labels, palette).to(image) / 255
    weight = opacity * (colours > 0).any(-3, keepdim=True).to(image)
    return image + weight * (colours - image)


def to_label_picture(labels: Tensor, palette: str = "voc") -> Image.Image:
    """Labels from 0 to 255, (H, W), as a picture with a palette.

    Raises:
        ValueError: other labels, for which there is no room in such a picture.
    """
    wrong = labels[(labels < 0) | (labels > 255)]
    if wrong.numel():
        raise ValueError(f"labels: a palette has room for 0 to 255, got {wrong[0].item()}")
    picture = Image.fromarray(labels.cpu().numpy().astype(np.uint8), mode="P")
    picture.putpalette(label_colours(palette=palette).flatten().tolist())
    return picture


def write_labels(path: Path, labels: Tensor, palette: str = "voc") -> None:
    """Writes labels from 0 to 255, (H, W), as a PNG with a palette."""
    with atomic_write(path) as part:
        to_label_picture(labels, palette).save(part, format="PNG")
