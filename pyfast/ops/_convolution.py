"""A call of `dilated_conv1d` or `dilated_conv2d` in one form, and what each algorithm can do."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pyfast._native import _C
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import FLOATS, HALVES
from pyfast.ops._layouts import is_channels_last

Size = int | Sequence[int]
Padding = Size | Literal["same", "valid"]
Pair = tuple[int, int]

_TALLEST_KERNEL = 64  # kMostTapRows of depthwise_conv.h
_MOST_CUDA_TAPS = 1024  # kMostCudaTaps
_FARTHEST = 2**24  # that taps reach: rows between frames of zeros have to fit into memory
_DTYPES = (*FLOATS, *HALVES)


Geometry = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation, groups


class Convolution(NamedTuple):
    """Images (B, C, H, W), a weight (O, C / groups, KH, KW) of their dtype, pairs for the rest.

    Signals are images of one row.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def geometry(self) -> Geometry:
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def kernel(self) -> Pair:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def out_size(self) -> Pair:
        """Height and width of the result."""
        height, width = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.input.shape[2:],
                self.padding,
                self.dilation,
                self.kernel,
                self.stride,
                strict=True,
            )
        )
        return height, width

    @property
    def is_channels_last(self) -> bool:
        return is_channels_last(self.input)

    @property
    def learns(self) -> bool:
        """Whether somebody will ask for a gradient."""
        return torch.is_grad_enabled() and (self.input.requires_grad or self.weight.requires_grad)

    @property
    def is_on_cpu(self) -> bool:
        return self.input.device.type == "cpu"

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.input.shape[1] > 1

    @property
    def multiplier(self) -> int:
        """Outputs of a group."""
        return self.weight.shape[0] // self.groups


def convolution_of(
    spatial: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Convolution | None:
    """The call in one form; None where only torch knows what to do, or what to say."""
    if (
        not isinstance(input, Tensor)
        or not isinstance(weight, Tensor)
        or weight.dim() != spatial + 2
        or input.dim() not in (spatial + 1, spatial + 2)
        or not isinstance(groups, int)
        or groups < 1
        or weight.shape[0] % groups
        or input.shape[-1 - spatial] != groups * weight.shape[1]
        or input.dtype not in _DTYPES
        or input.device.type not in ("cpu", "cuda")
        or not _go_together(input, weight, bias)
        or 0 in input.shape[-1 - spatial :]
        or 0 in weight.shape
    ):
        return None
    step, by = _of_axes(stride, spatial), _of_axes(dilation, spatial)
    if step is None or by is None or min(step) < 1 or min(by) < 1:
        return None
    images, kernel = _as_images(spatial, input, weight)
    spans = [d * (k - 1) for d, k in zip(by, kernel.shape[2:], strict=True)]
    if padding == "valid":
        around: Pair | None = (0, 0)
    elif padding == "same":
        # Torch pads the uneven rest of an even kernel, and refuses strides.
        if any(span % 2 for span in spans) or step != (1, 1):
            return None
        around = (spans[0] // 2, spans[1] // 2)
    else:
        around = None if isinstance(padding, str) else _of_axes(padding, spatial, 0)
    if (
        around is None
        or min(around) < 0
        or max(*around, *spans) > _FARTHEST
        or any(n + 2 * p <= s for n, p, s in zip(images.shape[2:], around, spans, strict=True))
    ):
        return None
    return Convolution(images, kernel, bias, step, around, by, groups)


def convolution_again(
    spatial: int, geometry: Geometry, input: Tensor, weight: Tensor, bias: Tensor | None
) -> Convolution | None:
    """The call whose shapes and options have gone through `convolution_of` before."""
    if not _go_together(input, weight, bias):
        return None
    images, kernel = _as_images(spatial, input, weight)
    return Convolution(images, kernel, bias, *geometry)


def _go_together(input: Tensor, weight: Tensor, bias: Any) -> bool:
    """In one dtype on one device, which autocast will not change."""
    return (
        _goes_with(input, weight)
        and (bias is None or (_goes_with(input, bias) and bias.shape == weight.shape[:1]))
        and not is_autocast_on(input.device.type)
    )


def _goes_with(input: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and other.dtype == input.dtype and other.device == input.device


def _as_images(spatial: int, input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    images = input if input.dim() == spatial + 2 else input[None]
    return (images[:, :, None], weight[:, :, None]) if spatial == 1 else (images, weight)


def _of_axes(value: Size, spatial: int, of_one_row: int = 1) -> Pair | None:
    """A number, or one for each axis, as (height, width); None for anything else."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if len(values) == 1:
        values *= spatial
    if len(values) != spatial or not all(isinstance(v, Integral) for v in values):
        return None
    values = tuple(map(int, values))
    return (of_one_row, values[0]) if spatial == 1 else (values[0], values[1])


def pads_within_reach(c: Convolution) -> bool:
    """No more padding than the taps reach."""
    return all(p <= d * (k - 1) for p, d, k in zip(c.padding, c.dilation, c.kernel, strict=True))


def has_adjoint(c: Convolution) -> bool:
    """Stride 1, and padding within reach: the adjoint is of the same kind."""
    return c.stride == (1, 1) and pads_within_reach(c)


def can_depthwise(c: Convolution) -> bool:
    if not (c.is_depthwise and c.kernel[0] <= _TALLEST_KERNEL and pads_within_reach(c)):
        return False
    if c.is_on_cpu:
        return c.input.dtype in FLOATS
    if c.stride != (1, 1) or c.multiplier > 1:
        return False
    return _C.with_cuda and c.kernel[0] * c.kernel[1] <= _MOST_CUDA_TAPS


def framed_bytes(c: Convolution) -> int:
    """What images of one batch take between frames of zeros: input, or gradient of the output."""
    (height, width), (out_h, out_w) = c.input.shape[2:], c.out_size
    frame = c.dilation[1] * (c.kernel[1] - 1) + 64 * c.stride[1]  # kMostLanes of each phase
    planes = (1, 1) if c.is_depthwise else (c.weight.shape[1], c.weight.shape[0])
    values = max(
        planes[0] * height * (out_w * c.stride[1] + frame), planes[1] * out_h * (width + frame)
    )
    return values * c.input.element_size()


def can_winograd(c: Convolution) -> bool:
    return c.kernel == (3, 3) and can_direct(c)


def can_direct(c: Convolution) -> bool:
    return c.is_on_cpu and c.groups == 1 and c.input.dtype in FLOATS and has_adjoint(c)


def can_implicit(c: Convolution) -> bool:
    return _C.with_cuda and not c.is_on_cpu and c.input.dtype == torch.float32


def can_widen(c: Convolution) -> bool:
    return c.is_on_cpu and c.input.dtype in HALVES
