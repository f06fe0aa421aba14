"""Pictures put together from layers, and a subject taken out of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._pictures import opened, read_picture, read_plane
from pyfast.ops.alpha import estimate_alpha
from pyfast.ops.foreground import estimate_foreground
from pyfast.ops.trimaps import trimap_from_scribbles


def composite(foreground: Any, alpha: Any, background: Any) -> Any:
    """`alpha * foreground + (1 - alpha) * background`.

    Args:
        foreground: a picture: tensor (C, H, W) or (B, C, H, W), array (H, W, C), or Pillow's; grey
            or colour, floats in [0, 1], uint8 or uint16.
        alpha: opacity of the foreground, (H, W), or (B, H, W) for a batch, of any kind.
        background: a picture of the same size, or one colour for all pixels: a number in [0, 1], or
            one for each channel.

    Returns:
        A picture of the kind and dtype of `foreground`, with as many channels, or with those of
        `background` where `foreground` is grey.

    Raises:
        TypeError: an argument is no picture.
        ValueError: a shape or a value does not fit.

    Differentiable in all three, where they are tensors of floats.

    Reference: Porter, Duff 1984, Compositing Digital Images, the operator "over" on an opaque
    background.

    Example:
        >>> composite(torch.ones(3, 1, 2), torch.tensor([[1.0, 0.25]]), 0.0)[0]
        tensor([[1.0000, 0.2500]])
    """
    op = "composite"
    front, form = read_picture(op, "foreground", foreground, channels=(1, 3))
    opacity, _ = read_plane(op, "alpha", alpha, front)
    back = _background(op, background, front)
    opacity = opacity.unsqueeze(1).to(front)
    return form.restore(opacity * front + (1 - opacity) * back)


def _background(op: str, background: Any, front: Tensor) -> Tensor:
    """(B or 1, C or 1, H or 1, W or 1)"""
    is_colour = isinstance(background, Sequence) and not isinstance(background, str)
    if isinstance(background, (int, float)) or is_colour:
        colour = torch.as_tensor(background, dtype=front.dtype, device=front.device).reshape(-1)
        if colour.numel() not in (1, 3) or not bool(((colour >= 0) & (colour <= 1)).all()):
            raise ValueError(
                f"{op}: expected background to be a picture, a number in [0, 1] or three of them, "
                f"got {background!r}"
            )
        return colour.reshape(1, -1, 1, 1)
    back, _ = read_picture(op, "background", background, channels=(1, 3))
    if back.shape[2:] != front.shape[2:] or back.shape[0] not in (1, front.shape[0]):
        height, width = front.shape[2:]
        raise ValueError(
            f"{op}: expected background of the size of foreground, {height} x {width}, got "
            f"{back.shape[2]} x {back.shape[3]}"
        )
    return back.to(front)


def cutout(
    image: Any,
    trimap: Any = None,
    *,
    scribbles: Any = None,
    alpha: Any = None,
    method: str = "multilevel",
    **options: Any,
) -> Any:
    """The subject of a picture, with its own colours, on a transparent ground.

    Alpha is estimated, then the colours of the foreground behind it.

    Args:
        image: the path of a file, or a picture of any kind: see `estimate_foreground`.
        trimap: 1 foreground, 0 background, between them unknown; a path, or (H, W) of any kind.
        scribbles: instead of it the picture with strokes, as for `trimap_from_scribbles`.
        alpha: instead of both, the matte, (H, W).
        method: of `estimate_foreground`.
        options: of `estimate_alpha`: `epsilon`, `radius`, `rtol` and so on.

    Returns:
        RGBA of the kind and dtype of `image`, Pillow's for a path. Colours are not multiplied by
        alpha.

    Raises:
        TypeError: an argument is of another type than above, or not one of the three ways to say
            where the subject is.
        ValueError: a shape or a value does not fit, or a file holds no picture.
        FileNotFoundError: there is no such file.

    Example:
        >>> cutout(torch.rand(3, 5, 5), alpha=torch.ones(5, 5)).shape
        torch.Size([4, 5, 5])
    """
    op = "cutout"
    given = [
        name
        for name, value in (("trimap", trimap), ("scribbles", scribbles), ("alpha", alpha))
        if value is not None
    ]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise TypeError(f"{op}: expected one of trimap, scribbles or alpha, got {found}")
    image, trimap, scribbles, alpha = map(opened, (image, trimap, scribbles, alpha))
    pixels, form = read_picture(op, "image", image)
    pixels = pixels[:, :3].expand(-1, 3, -1, -1)
    if scribbles is not None:
        trimap = trimap_from_scribbles(image, scribbles)
    if trimap is not None:
        planes, _ = read_plane(op, "trimap", trimap, pixels)
        alpha = estimate_alpha(pixels, planes.to(pixels.device), **options)
    elif options:
        raise TypeError(f"{op}: expected no options beside alpha, got {', '.join(options)}")
    matte = read_plane(op, "alpha", alpha, pixels)[0].to(pixels).unsqueeze(1)
    colours = estimate_foreground(pixels, matte, method=method)
    return form.restore(torch.cat([colours, matte], 1))
