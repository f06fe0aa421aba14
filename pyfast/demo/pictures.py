"""Puts images together to one picture."""

from pathlib import Path

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pyfast.data import to_picture
from pyfast.demo.page import Picture


def mosaic(rows: Tensor, gap: int, background: float = 1.0) -> Tensor:
    """Images (rows, columns, C, H, W) as one (C, H', W'), `gap` pixels apart."""
    count, columns, channels, height, width = rows.shape
    padded = F.pad(rows, (0, gap, 0, gap), value=background)
    joined = padded.permute(2, 0, 3, 1, 4).reshape(
        channels, count * (height + gap), columns * (width + gap)
    )
    return joined[:, :-gap, :-gap] if gap else joined


def enlarge(images: Tensor, size: int) -> Tensor:
    """Images (..., C, H, W) with every pixel as a visible square, `size` pixels high and wide."""
    flat = images.reshape(-1, *images.shape[-3:])
    return F.interpolate(flat, (size, size), mode="nearest").reshape(*images.shape[:-2], size, size)


def save(folder: Path, file: str, image: Tensor, caption: str, **details: object) -> Picture:
    """Writes `image`, (C, H, W), into the folder of a page."""
    picture = to_picture(image)
    picture.save(folder / file, quality=90)
    return _described(folder, file, picture, caption, **details)


def save_animation(
    folder: Path, file: str, frames: list[Tensor], caption: str, **details: object
) -> Picture:
    """Writes images, (C, H, W), as an animation that waits on its last frame and repeats."""
    pictures = [to_picture(frame) for frame in frames]
    durations = [90] * (len(pictures) - 1) + [2500]
    pictures[0].save(
        folder / file,
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=80,
    )
    return _described(folder, file, pictures[0], caption, **details)


def _described(
    folder: Path, file: str, picture: Image.Image, caption: str, **details: object
) -> Picture:
    return Picture(f"{folder.name}/{file}", *picture.size, caption, **details)  # type: ignore[arg-type]
