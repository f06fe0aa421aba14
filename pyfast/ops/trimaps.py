"""Trimaps: 1 where a pixel is foreground, 0 where it is background, 0.5 where that is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyfast.ops._checks import expect_number
from pyfast.ops._pictures import read_picture, read_plane

# Values up to the first are background, from the second on foreground, between them unknown.
BACKGROUND, FOREGROUND = 0.1, 0.9


def trimap_from_mask(mask: Any, erode: float = 10, dilate: float = 10) -> Any:
    """A trimap from a segmentation: unknown is what lies near its border.

    Args:
        mask: how much a pixel belongs to the subject, (H, W), or (B, H, W): bool, uint8, uint16, or
            floats in [0, 1]. From 0.9 on it is inside, up to 0.1 outside; between it is unknown.
        erode: pixels at the border, inside, that become unknown: those at most this far from what
            is not inside. Where nothing would be left, the innermost pixels are.
        dilate: the same outside.

    Returns:
        The trimap, of the kind, shape and dtype of `mask` (uint8 for bool).

    Raises:
        TypeError: `mask` is no picture, or a distance no number.
        ValueError: a shape or a value does not fit, or the mask has no inside or no outside.

    Example:
        >>> mask = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
        >>> trimap_from_mask(mask, erode=1, dilate=2)
        tensor([[0.0000, 0.5000, 0.5000, 0.5000, 1.0000, 1.0000]])
    """
    op = "trimap_from_mask"
    expect_number(op, "erode", erode, least=0)
    expect_number(op, "dilate", dilate, least=0)
    planes, form = read_plane(op, "mask", mask)
    trimap = torch.full_like(planes, 0.5)
    for plane, result in zip(planes, trimap, strict=True):
        for what, side, distance, value in (
            ("inside", plane >= FOREGROUND, erode, 1.0),
            ("outside", plane <= BACKGROUND, dilate, 0.0),
        ):
            if not bool(side.any()):
                raise ValueError(
                    f"{op}: expected mask with an inside and an outside, it has no {what}"
                )
            result[_core(side, distance)] = value
    return form.restore(trimap)


def _core(side: Tensor, distance: float) -> Tensor:
    """Pixels of `side` more than `distance` from the others, or the innermost ones."""
    from scipy.ndimage import distance_transform_edt

    if distance == 0 or bool(side.all()):
        return side
    depth = torch.from_numpy(distance_transform_edt(side.cpu().numpy())).to(side.device)
    return depth > min(distance, depth.max().item() * 0.75)


def trimap_from_scribbles(image: Any, drawn: Any, tolerance: float = 0.02) -> Any:
    """A trimap from strokes that somebody has drawn over a picture.

    Args:
        image: the picture.
        drawn: the same picture with white strokes on the foreground and black ones on the
            background; or, with an alpha channel, the strokes alone on a transparent ground.
        tolerance: a pixel counts as drawn on where it differs from `image` by more, in any channel.

    Returns:
        The trimap, (H, W) or (B, H, W), of the kind and dtype of `drawn`: 1 under white strokes, 0
        under black ones, else 0.5.

    Raises:
        TypeError: an argument is no picture.
        ValueError: a shape or a value does not fit, or a kind of stroke is missing.

    Reference: Levin, Lischinski, Weiss 2008, A Closed-Form Solution to Natural Image Matting.

    Example:
        >>> image = torch.full((3, 1, 3), 0.5)
        >>> drawn = image.clone()
        >>> drawn[:, 0, 0], drawn[:, 0, 2] = 1, 0
        >>> trimap_from_scribbles(image, drawn)
        tensor([[1.0000, 0.5000, 0.0000]])
    """
    op = "trimap_from_scribbles"
    expect_number(op, "tolerance", tolerance, least=0)
    pixels, _ = read_picture(op, "image", image)
    strokes, form = read_picture(op, "drawn", drawn)
    if strokes.shape[2:] != pixels.shape[2:] or strokes.shape[0] != pixels.shape[0]:
        size = " x ".join(map(str, pixels.shape[2:]))
        found = " x ".join(map(str, strokes.shape[2:]))
        raise ValueError(f"{op}: expected drawn of the size of image, {size}, got {found}")
    colours = strokes[:, :3]
    if strokes.shape[1] == 4:
        marked = strokes[:, 3] > 0.5
    else:
        marked = ((colours - pixels[:, :3].to(colours)).abs() > tolerance).any(1)
    trimap = torch.full_like(colours[:, 0], 0.5)
    for what, side, value in (
        ("foreground", (colours >= FOREGROUND).all(1), 1.0),
        ("background", (colours <= BACKGROUND).all(1), 0.0),
    ):
        side = side & marked
        if not bool(side.flatten(1).any(1).all()):
            colour = "white" if value else "black"
            raise ValueError(
                f"{op}: expected {colour} strokes in drawn, which mark the {what}; got none"
            )
        trimap[side] = value
    return form.plane().restore(trimap)
