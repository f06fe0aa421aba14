"""Pictures of any kind as tensors, and results in the kind that came.

A picture is a tensor (C, H, W), (B, C, H, W) or (H, W), a NumPy array (H, W), (H, W, C) or
(B, H, W, C), or a picture of Pillow. Its values are floats in [0, 1], or uint8, uint16 or bool,
which are scaled. A plane, such as a trimap, has one channel, which need not be written out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch._C import _functorch

LARGEST = {torch.uint8: 255, torch.uint16: 65535, torch.bool: 1}
# A resampled picture may leave [0, 1] by a little.
SLACK = 1e-3


@dataclass(frozen=True)
class Form:
    """What kind of thing a picture came as, to `restore` results to."""

    kind: str  # "tensor", "array" or "pillow"
    dtype: torch.dtype  # of the values as they came
    batched: bool = False  # whether there is a dimension for pictures
    channelled: bool = True  # whether there is a dimension for channels

    def restore(self, pixels: Tensor) -> Any:
        """(B, C, H, W) or planes (B, H, W), in [0, 1], in this kind and dtype.

        What has several channels gets a dimension for them also where the original had none. From
        bool comes uint8.
        """
        pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels
        if self.kind == "pillow":
            return _to_pillow(pixels[0])
        pixels = _quantised(pixels, self.dtype)
        channels = 1
        if self.kind == "array":
            pixels, channels = pixels.detach().cpu().permute(0, 2, 3, 1), 3
        if not self.channelled and pixels.shape[channels] == 1:
            pixels = pixels.squeeze(channels)
        if not self.batched:
            pixels = pixels.squeeze(0)
        return pixels.numpy() if self.kind == "array" else pixels

    def plane(self) -> Form:
        """The form of one channel that goes with such a picture."""
        return replace(self, channelled=False)


def opened(picture: Any) -> Any:
    """The picture in a file where `picture` is a path."""
    if not isinstance(picture, (str, os.PathLike)):
        return picture
    from pyfast.data import read_image

    return read_image(Path(picture))


def read_picture(
    op: str, name: str, value: Any, *, channels: tuple[int, ...] = (1, 3, 4), bounded: bool = True
) -> tuple[Tensor, Form]:
    """`value` as (B, C, H, W), float64 where it is that, else float32, in [0, 1].

    Args:
        op: name of the function, for the text.
        name: of the argument.
        value: a picture, as above.
        channels: how many there may be; empty: any number.
        bounded: whether floats have to be in [0, 1], and not NaN.

    Raises:
        TypeError: it is no picture.
        ValueError: a shape or a value does not fit.
    """
    pixels, kind = _as_tensor(op, name, value)
    last = kind != "tensor" and pixels.dim() > 2
    wanted = "(H, W, C) or (H, W)" if kind == "array" else "(C, H, W), (B, C, H, W) or (H, W)"
    if channels and len(channels) < 4:
        wanted += f" with C {' or '.join(map(str, channels))}"
    count = 1 if pixels.dim() == 2 else pixels.shape[-1 if last else -3] if pixels.dim() > 2 else 0
    if pixels.dim() not in (2, 3, 4) or (channels and count not in channels) or not pixels.numel():
        raise ValueError(f"{op}: expected {name} of shape {wanted}, got {tuple(pixels.shape)}")
    form = Form(kind, pixels.dtype, pixels.dim() == 4, pixels.dim() > 2)
    if last:
        pixels = pixels.movedim(-1, -3)
    pixels = pixels[None, None] if pixels.dim() == 2 else pixels
    pixels = pixels.unsqueeze(0) if pixels.dim() == 3 else pixels
    return _scaled(op, name, pixels, bounded), form


def read_plane(
    op: str, name: str, value: Any, like: Tensor | None = None, *, bounded: bool = True
) -> tuple[Tensor, Form]:
    """A trimap, alpha or mask as (B, H, W), in [0, 1].

    Args:
        op: name of the function, for the text.
        name: of the argument.
        value: tensor (H, W), (1, H, W), (B, H, W) or (B, 1, H, W), array (H, W), (H, W, 1) or
            (B, H, W, 1), or a picture of Pillow. Of three or four equal channels one is taken.
        like: picture (B, C, H, W), of whose batch and size it has to be.
        bounded: as for `read_picture`.

    Raises:
        TypeError: it is no picture.
        ValueError: a shape or a value does not fit.
    """
    plane, kind = _as_tensor(op, name, value)
    dtype, shape, channelled = plane.dtype, tuple(plane.shape), False
    if kind != "tensor" and plane.dim() > 2 and shape[-1] in (1, 3, 4):
        plane, channelled = _one_channel(op, name, plane), shape[-1] == 1
    elif kind == "tensor" and plane.dim() == 4 and shape[1] == 1:
        plane, channelled = plane[:, 0], True
    batched = plane.dim() == 3
    planes = plane if batched else plane.unsqueeze(0)
    wanted = "(H, W)"
    if like is not None:
        batch, _, height, width = like.shape
        wanted = f"({height}, {width})" if batch == 1 else f"({batch}, {height}, {width})"
    fits = like is None or planes.shape == (like.shape[0], *like.shape[2:])
    if planes.dim() != 3 or not planes.numel() or not fits:
        raise ValueError(f"{op}: expected {name} of shape {wanted}, got {shape}")
    return _scaled(op, name, planes, bounded), Form(kind, dtype, batched, channelled)


def _as_tensor(op: str, name: str, value: Any) -> tuple[Tensor, str]:
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_nested:
            raise TypeError(f"{op}: expected {name} to be a dense torch.Tensor, got {value.layout}")
        return value, "tensor"
    if isinstance(value, Image.Image):
        return torch.from_numpy(_pillow_values(value)), "pillow"
    if isinstance(value, np.ndarray):
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        if native.dtype.kind not in "fbu" or native.dtype.itemsize > 8:
            raise TypeError(f"{op}: expected {name} {_DTYPES}, got {value.dtype}")
        if not native.flags.writeable or min(native.strides, default=0) < 0:
            native = native.copy()
        return torch.from_numpy(native), "array"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(
        f"{op}: expected {name} to be a torch.Tensor, numpy.ndarray or PIL.Image.Image, got {kind}"
    )


_DTYPES = "of floats, uint8, uint16 or bool"


def _pillow_values(picture: Image.Image) -> np.ndarray[Any, Any]:
    """(H, W) or (H, W, 3 or 4), of a mode's own range."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    if mode in ("L", "RGB", "RGBA", "F", "1"):
        return np.array(picture)
    if mode == "I":  # what Pillow makes of a PNG of 16 bits
        return np.array(picture).clip(0, 65535).astype(np.uint16)
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _one_channel(op: str, name: str, plane: Tensor) -> Tensor:
    """(…, C) -> (…): the colours, which have to be equal."""
    colours = plane[..., :3] if plane.shape[-1] > 1 else plane
    first = colours[..., 0]
    if not bool((colours == first[..., None]).all()):
        raise ValueError(f"{op}: expected {name} of one channel or of equal ones, got colours")
    return first


def _scaled(op: str, name: str, pixels: Tensor, bounded: bool) -> Tensor:
    if pixels.dtype in LARGEST:
        return pixels.to(torch.float32) / LARGEST[pixels.dtype]
    if not pixels.is_floating_point():
        raise TypeError(f"{op}: expected {name} {_DTYPES}, got {pixels.dtype}")
    pixels = pixels if pixels.dtype == torch.float64 else pixels.float()
    # Under a transform of torch there are no values to look at.
    if (
        bounded
        and not torch.compiler.is_compiling()
        and _functorch.peek_interpreter_stack() is None
    ):
        # In the order of memory, or torch copies the picture.
        order = sorted(range(pixels.dim()), key=pixels.stride, reverse=True)
        low, high = (bound.item() for bound in pixels.detach().permute(order).aminmax())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"{op}: expected {name} of finite values, got NaN or infinity")
        if low < -SLACK or high > 1 + SLACK:
            hint = "; divide by 255" if 1 < high <= 255 and low >= 0 else ""
            raise ValueError(
                f"{op}: expected {name} of floats in [0, 1], got values from {low:.4g} to "
                f"{high:.4g}{hint}"
            )
    return pixels


def _quantised(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in [0, 1] as `dtype` has them."""
    dtype = torch.uint8 if dtype == torch.bool else dtype
    if dtype.is_floating_point:
        return pixels.to(dtype)
    return pixels.clamp(0, 1).mul(LARGEST[dtype]).round().to(torch.int32).to(dtype)


def _to_pillow(pixels: Tensor) -> Image.Image:
    """(C, H, W) in [0, 1], of 8 bits."""
    values = _quantised(pixels, torch.uint8).detach().cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
