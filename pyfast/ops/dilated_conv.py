"""Dilated (atrous) convolution: torch's own where that is fastest, kernels of ours where not.

Reference: Yu, Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016, eq. 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast._native import _C
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import FLOATS, HALVES
from pyfast.ops._depthwise_conv import depthwise_conv2d

Size = int | Sequence[int]
Padding = Size | Literal["same", "valid"]
Algorithm = Literal["torch", "depthwise"]

ALGORITHMS = ("torch", "depthwise")
_TALLEST_KERNEL = 64  # kMostTapRows of depthwise_conv.h
_MOST_CUDA_TAPS = 1024  # kMostCudaTaps


def dilated_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm | None = None,
) -> Tensor:
    """Two-dimensional convolution with the arguments and results of `torch.nn.functional.conv2d`.

    Depthwise convolutions of stride 1 (as many groups as channels in and out) run on kernels of
    ours, forward and backward: on the CPU in float32 and float64, on CUDA in float16 and bfloat16
    too. On CUDA those of dilation 1 stay torch's; on the CPU in channels_last those of dilation 1,
    and up to dilation 4 those that nobody differentiates. All other calls, and all under autocast,
    are torch's too.

    Args:
        input: (B, C, H, W) or (C, H, W). channels_last is kept.
        weight: (O, C / groups, KH, KW), of the dtype of input.
        bias: (O), or None.
        stride: of the output in pixels of the input, a number or a pair (height, width).
        padding: zeros on every side, a number or a pair; "valid" is 0, "same" as many as give an
            output of the size of the input, with stride 1.
        dilation: distance of the taps in pixels, a number or a pair.
        groups: into which channels are divided.
        algorithm: None chooses by the rule above and never costs accuracy. "torch" always takes
            torch's; "depthwise" takes ours and refuses what it does not do.

    Returns:
        (B, O, OH, OW) or (O, OH, OW).

    Raises:
        ValueError: if algorithm is unknown, or cannot do this convolution.
        RuntimeError, TypeError: torch's own, for arguments that do not fit together.

    Example:
        >>> import torch
        >>> row = torch.arange(5.0).reshape(1, 1, 1, 5)
        >>> dilated_conv2d(row, torch.ones(1, 1, 1, 2), dilation=(1, 3))
        tensor([[[[3., 5.]]]])
    """
    convolution = input, weight, bias, stride, padding, dilation, groups
    geometry = _route("dilated_conv2d", 2, algorithm, *convolution)
    if geometry is None:
        return F.conv2d(*convolution)  # type: ignore[arg-type]
    if input.dim() == 3:
        return depthwise_conv2d(input[None], weight, bias, *geometry)[0]
    return depthwise_conv2d(input, weight, bias, *geometry)


def dilated_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm | None = None,
) -> Tensor:
    """One-dimensional convolution with the arguments and results of `torch.nn.functional.conv1d`.

    The same as `dilated_conv2d` on signals of one row: see there.

    Args:
        input: (B, C, L) or (C, L).
        weight: (O, C / groups, K), of the dtype of input.
        bias: (O), or None.
        stride: of the output in samples of the input.
        padding: zeros on both sides, a number, "valid" or "same".
        dilation: distance of the taps in samples.
        groups: into which channels are divided.
        algorithm: see `dilated_conv2d`.

    Returns:
        (B, O, OL) or (O, OL).

    Raises:
        ValueError: if algorithm is unknown, or cannot do this convolution.
        RuntimeError, TypeError: torch's own, for arguments that do not fit together.

    Example:
        >>> import torch
        >>> dilated_conv1d(torch.arange(5.0)[None], torch.ones(1, 1, 2), dilation=3)
        tensor([[3., 5.]])
    """
    convolution = input, weight, bias, stride, padding, dilation, groups
    geometry = _route("dilated_conv1d", 1, algorithm, *convolution)
    if geometry is None:
        return F.conv1d(*convolution)  # type: ignore[arg-type]
    batch = input[None] if input.dim() == 2 else input
    result = depthwise_conv2d(batch[:, :, None], weight[:, :, None], bias, *geometry)[:, :, 0]
    return result[0] if input.dim() == 2 else result


def dilated_conv2d_reference(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """The definition of `dilated_conv2d`: a sum over taps, each of them a shifted picture."""
    padded = F.pad(input, (padding[1], padding[1], padding[0], padding[0]))
    size = [
        (padded.shape[2 + a] - dilation[a] * (weight.shape[2 + a] - 1) - 1) // stride[a] + 1
        for a in (0, 1)
    ]
    result = input.new_zeros(input.shape[0], weight.shape[0], *size)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            rows = i * dilation[0] + stride[0] * torch.arange(size[0])
            columns = j * dilation[1] + stride[1] * torch.arange(size[1])
            shifted = padded[:, :, rows][:, :, :, columns].unflatten(1, (groups, -1))
            tap = weight[:, :, i, j].unflatten(0, (groups, -1))
            result = result + torch.einsum("bgchw,goc->bgohw", shifted, tap).flatten(1, 2)
    return result if bias is None else result + bias[:, None, None]


Geometry = tuple[int, int, int, int]


def _route(
    op: str, spatial: int, algorithm: str | None, input: Tensor, weight: Tensor, *options: Any
) -> Geometry | None:
    """Padding and dilation for the depthwise kernels; None where torch computes."""
    if algorithm not in (None, *ALGORITHMS):
        raise ValueError(f"{op}: expected algorithm None or one of {ALGORITHMS}, got {algorithm!r}")
    if algorithm == "torch":
        return None
    geometry = _depthwise_geometry(spatial, input, weight, *options)
    if geometry is None and algorithm == "depthwise":
        raise ValueError(
            f'{op}: expected for algorithm "depthwise" CPU tensors of float32 or float64 or, in a '
            "build with CUDA, CUDA tensors of floats, stride 1, padding within the reach of the "
            "kernel, no autocast, and as many groups as channels of input and output, got another "
            "convolution"
        )
    if geometry is None or algorithm == "depthwise":
        return geometry
    return None if _torch_is_faster(spatial, input, weight, geometry) else geometry


def _torch_is_faster(spatial: int, input: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether torch's kernel wins among those that the depthwise kernels can do.

    Measured on the CPU. On CUDA torch's own kernels take dilations slowly in float16, in
    channels_last and backward.
    """
    furthest = max(geometry[2:])
    if input.device.type == "cuda":
        return furthest == 1
    if spatial == 1 or input.is_contiguous() or input.stride(-3) != 1:  # not channels_last
        return False
    differentiated = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    return furthest == 1 or (furthest <= 4 and not differentiated)


def _depthwise_geometry(
    spatial: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Geometry | None:
    """Padding and dilation (height, width) of a call that the depthwise kernels can do, or None."""
    if (
        groups == 1
        or not isinstance(input, Tensor)
        or not isinstance(weight, Tensor)
        or input.dim() not in (spatial + 1, spatial + 2)
        or weight.shape[:2] != (groups, 1)
        or weight.dim() != spatial + 2
        or input.shape[-1 - spatial] != groups
        or not _has_kernels(input, weight)
        or any(
            t.dtype != input.dtype or t.device != input.device
            for t in (weight, bias)
            if t is not None
        )
        or 0 in input.shape
        or 0 in weight.shape
        or is_autocast_on(input.device.type)
    ):
        return None
    if bias is not None and bias.shape != (groups,):
        return None
    by, steps = _of_axes(dilation, spatial), _of_axes(stride, spatial)
    if steps is None or by is None or any(s != 1 for s in steps) or any(d < 1 for d in by):
        return None
    kernel = (1, *weight.shape[2:]) if spatial == 1 else weight.shape[2:]
    spans = [d * (k - 1) for d, k in zip(by, kernel, strict=True)]
    if padding == "valid":
        around = (0, 0)
    elif padding == "same":
        if any(span % 2 for span in spans):
            return None
        around = (spans[0] // 2, spans[1] // 2)
    else:
        given = None if isinstance(padding, str) else _of_axes(padding, spatial, 0)
        if given is None:
            return None
        around = given
    size = (1, input.shape[-1]) if spatial == 1 else input.shape[-2:]
    # More padding than the taps reach has no adjoint of the same kind.
    if any(p < 0 or p > s for p, s in zip(around, spans, strict=True)) or any(
        n + 2 * p <= s for n, p, s in zip(size, around, spans, strict=True)
    ):
        return None
    return (*around, *by) if kernel[0] <= _TALLEST_KERNEL else None


def _has_kernels(input: Tensor, weight: Tensor) -> bool:
    """Whether depthwise kernels are there for this device, dtype and number of taps."""
    if input.device.type == "cpu":
        return input.dtype in FLOATS
    return (
        input.device.type == "cuda"
        and _C.with_cuda
        and input.dtype in (*FLOATS, *HALVES)
        and weight.shape[2:].numel() <= _MOST_CUDA_TAPS
    )


def _of_axes(value: Size, spatial: int, of_one_row: int = 1) -> tuple[int, int] | None:
    """A number, or one for each axis, as (height, width); None for anything else."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if len(values) == 1:
        values *= spatial
    if len(values) != spatial or not all(isinstance(v, Integral) for v in values):
        return None
    values = tuple(map(int, values))
    return (of_one_row, values[0]) if spatial == 1 else (values[0], values[1])
