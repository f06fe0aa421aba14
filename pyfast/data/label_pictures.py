"""Labels as colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyfast._files import atomic_write


def label_colours(count: int = 256) -> Tensor:
    """The colours of Pascal VOC for labels 0, 1, ..., uint8 (count, 3); white for 255."""
    labels = torch.arange(count)
    colours = torch.zeros(count, 3, dtype=torch.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (labels >> (3 * bit + channel) & 1) << (7 - bit)
    colours[255:256] = torch.tensor([224, 224, 192])
    return colours.to(torch.uint8)


def colour_labels(labels: Tensor) -> Tensor:
    """Labels (..., H, W) as colours, uint8 (..., 3, H, W)."""
    return label_colours().to(labels.device)[labels].movedim(-1, -3)


def overlay_labels(image: Tensor, labels: Tensor, opacity: float = 0.5) -> Tensor:
    """A picture in [0, 1], (..., 3, H, W), under the colours of its labels; 0 stays clear."""
    colours = colour_labels(labels).to(image) / 255
    weight = opacity * (labels != 0).to(image).unsqueeze(-3)
    return image + weight * (colours - image)


def to_label_picture(labels: Tensor) -> Image.Image:
    """Labels from 0 to 255, (H, W), as a picture with the palette of Pascal VOC."""
    picture = Image.fromarray(labels.cpu().numpy().astype(np.uint8), mode="P")
    picture.putpalette(label_colours().flatten().tolist())
    return picture


def write_labels(path: Path, labels: Tensor) -> None:
    """Writes labels from 0 to 255, (H, W), as a PNG with the palette of Pascal VOC."""
    with atomic_write(path) as part:
        to_label_picture(labels).save(part, format="PNG")
