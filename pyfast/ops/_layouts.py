"""How results lie in memory, as torch has to know before a kernel runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import is_in_vmap


def is_channels_last(image: Tensor) -> bool:
    """Whether an image lies in memory pixel by pixel, and not as well plane by plane.

    Inside of vmap nobody can tell.
    """
    if image.is_contiguous() or is_in_vmap():
        return False
    last = torch.channels_last if image.dim() == 4 else torch.channels_last_3d
    return image.is_contiguous(memory_format=last)


def empty_like_image(image: Tensor, shape: Sequence[Any], dtype: torch.dtype) -> Tensor:
    """An empty image in the memory format that the kernels choose: that of `image`."""
    last = torch.channels_last if image.dim() == 4 else torch.channels_last_3d
    keeps = is_channels_last(image) and image.numel() != 0
    format = last if keeps else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=image.device, memory_format=format)


def as_planes(image: Tensor) -> Tensor:
    """A 4-D image in channels_last, plane by plane: (B, C, H, W).

    Torch copies matrices in blocks, and so several times as fast as images.
    """
    if torch.compiler.is_compiling() or image.shape[0] != 1 or image.numel() == 0:
        return image.contiguous()
    return image[0].permute(1, 2, 0).flatten(0, 1).t().contiguous().view(image.shape)
