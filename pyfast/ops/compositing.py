"""Pictures put together from layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._pictures import read_picture, read_plane


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
