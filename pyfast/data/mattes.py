"""Pictures whose matte is known, because they were made with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast.data.photographs import photograph


class MatteScene(NamedTuple):
    """One photograph over another. Everything is float32 in [0, 1]."""

    image: Tensor  # (3, H, W): alpha * foreground + (1 - alpha) * background
    alpha: Tensor  # (H, W)
    foreground: Tensor  # (3, H, W)
    background: Tensor  # (3, H, W)
    trimap: Tensor  # (H, W): 1 and 0 well inside and outside, 0.5 between
    scribbles: Tensor  # (H, W): 1 and 0 under a few strokes, 0.5 elsewhere


def matte_scene(
    height: int, width: int, front: str = "flower", back: str = "china", hairs: int = 40
) -> MatteScene:
    """A subject with a sharp edge below, an ever more blurred one around, and hair on top.

    Args:
        height: in pixels.
        width: in pixels.
        front: photograph of the subject, one of `PHOTOGRAPHS`.
        back: photograph behind it.
        hairs: how many.
    """
    alpha = _alpha(height, width, hairs)
    foreground, background = (_resized(name, height, width) for name in (front, back))
    image = alpha * foreground + (1 - alpha) * background
    return MatteScene(
        image, alpha, foreground, background, _trimap(alpha), _scribbles(height, width)
    )


def _resized(name: str, height: int, width: int) -> Tensor:
    picture = photograph(name).float()[None] / 255
    size = (height, width)
    return F.interpolate(picture, size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def _polar(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Distance from the middle in units of the shorter side, and angle; up is -pi / 2."""
    y = (torch.arange(height).float()[:, None] + 0.5) / height - 0.55
    x = (torch.arange(width).float() + 0.5) / width - 0.5
    side = min(height, width)
    y, x = y * height / side, x * width / side
    return torch.hypot(y, x), torch.atan2(y.expand(-1, width), x.expand(height, -1))


def _alpha(height: int, width: int, hairs: int) -> Tensor:
    radius, angle = _polar(height, width)
    pixel = 1 / min(height, width)
    edge = 0.27 + 0.02 * torch.sin(3 * angle)
    upwards = (1 - torch.sin(angle)) / 2  # 0 below, 1 on top
    blur = pixel + 0.06 * (upwards * (1 - upwards) * 4) ** 2
    body = ((edge - radius) / blur + 0.5).clamp(0, 1)
    # Hairs run outwards and bend; they thin out and fade towards their tips.
    out = (radius - edge) / 0.16
    bent = angle + 0.15 * out.clamp(0, 1) ** 2 * torch.sin(5 * angle)
    distance = torch.sin(hairs / 2 * bent).abs() * 2 / hairs * radius
    thickness = (0.35 * math.pi / hairs) * edge * (1 - 0.7 * out.clamp(0, 1))
    hair = ((thickness - distance) / pixel + 0.5).clamp(0, 1) * (1 - out).clamp(0, 1) ** 0.5
    hair = hair * (upwards > 0.55) * (out > -0.2)
    return torch.maximum(body, hair)


def _trimap(alpha: Tensor) -> Tensor:
    """Unknown: what is mixed, and what is near it."""
    from scipy.ndimage import distance_transform_edt

    margin = max(2.0, 0.012 * min(alpha.shape))
    trimap = np.full(alpha.shape, 0.5, np.float32)
    for value in (0.0, 1.0):
        trimap[distance_transform_edt((alpha == value).numpy()) > margin] = value
    return torch.from_numpy(trimap)


def _scribbles(height: int, width: int) -> Tensor:
    radius, angle = _polar(height, width)
    scribbles = torch.full((height, width), 0.5)
    half = 0.006
    inside = (radius < 0.15) & ((radius - 0.1).abs() < 2 * half)
    outside = ((radius - 0.475).abs() < half) & (torch.sin(3 * angle) > -0.8)
    scribbles[inside] = 1
    scribbles[outside] = 0
    return scribbles
