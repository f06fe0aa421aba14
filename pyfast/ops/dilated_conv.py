"""Dilated (atrous) convolution: torch's own where that is fastest, kernels of ours where not.

Reference: Yu, Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016, eq. 2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast.ops._autograd import multiplies_in_bf16
from pyfast.ops._conv_routes import ALGORITHMS, choose, convolve, is_torchs, remember, remembered
from pyfast.ops._convolution import (
    Convolution,
    Padding,
    Size,
    convolution_again,
    convolution_of,
)


def dilated_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
) -> Tensor:
    """Two-dimensional convolution with the arguments and results of `torch.nn.functional.conv2d`.

    A table measured once for each instruction set says which algorithm is fastest for a class of
    shapes, so that runs repeat bit for bit: kernels of ours for depthwise convolutions, Winograd's
    for many channels, float32 for what torch computes slowly in float16 and for depthwise ones that
    learn in bfloat16, where its gradients may be wrong. On CUDA dilated depthwise convolutions are
    ours, and all dilated ones in float32 while TF32 is off
    (`torch.backends.cudnn.conv.fp32_precision`) or algorithms have to be deterministic. All other
    calls, and all under autocast, are torch's.

    Args:
        input: (B, C, H, W) or (C, H, W). channels_last is kept.
        weight: (O, C / groups, KH, KW), of the dtype of input.
        bias: (O), or None.
        stride: of the output in pixels of the input, a number or a pair (height, width).
        padding: zeros on every side, a number or a pair; "valid" is 0, "same" as many as give an
            output of the size of the input, with stride 1.
        dilation: distance of the taps in pixels, a number or a pair.
        groups: into which channels are divided.
        algorithm: None chooses by the table and never costs accuracy. Otherwise one of
            "torch": torch's own; "other_layout": the same in the other memory format, whatever
            that of input; "depthwise": kernels of ours; "direct": kernels of
            ours for few channels; "implicit": one of ours on CUDA, an implicit product of matrices
            in full float32, the same bits every time; "winograd2": Winograd's F(2x2, 3x3) on
            the d x d images that a dilation of d takes apart, at least as exact as torch's
            (largest error 4e-7 of the largest result); "winograd4": F(4x4, 3x3), with a quarter
            of the products, less exact (2e-6); "float32": for halves.
            Winograd's differences of inputs make NaN of infinities, within the tile that sees
            them; its products, where they are asked for by name, are rounded as
            `torch.set_float32_matmul_precision` allows.
            Transformed weights that do not learn are kept (512 MB at most), see
            `pyfast.clear_scratch`.

    Returns:
        (B, O, OH, OW) or (O, OH, OW).

    Raises:
        ValueError: if algorithm is unknown, or cannot do this convolution.
        RuntimeError, TypeError: torch's own, for arguments that do not fit together, with these.

    Reference:
        Lavin, Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, eq. 8.

    Example:
        >>> import torch
        >>> row = torch.arange(5.0).reshape(1, 1, 1, 5)
        >>> dilated_conv2d(row, torch.ones(1, 1, 1, 2), dilation=(1, 3))
        tensor([[[[3., 5.]]]])
    """
    call = input, weight, bias, stride, padding, dilation, groups
    return _dilated_conv("dilated_conv2d", F.conv2d, algorithm, 2, *call)


def dilated_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
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
        RuntimeError, TypeError: torch's own, for arguments that do not fit together, with these.

    Example:
        >>> import torch
        >>> dilated_conv1d(torch.arange(5.0)[None], torch.ones(1, 1, 2), dilation=3)
        tensor([[3., 5.]])
    """
    call = input, weight, bias, stride, padding, dilation, groups
    return _dilated_conv("dilated_conv1d", F.conv1d, algorithm, 1, *call)


def _dilated_conv(
    op: str, torchs: Any, algorithm: str | None, spatial: int, input: Tensor, *rest: Any
) -> Tensor:
    if algorithm is None:
        algorithm, c = chosen(spatial, input, *rest)
    elif algorithm not in ALGORITHMS:
        raise ValueError(
            f"{op}: expected algorithm None or one of {tuple(ALGORITHMS)}, got {algorithm!r}"
        )
    elif algorithm != "torch":
        c = convolution_of(spatial, input, *rest)
        if c is None or not ALGORITHMS[algorithm].can(c):
            raise ValueError(
                f'{op}: expected for algorithm "{algorithm}" {ALGORITHMS[algorithm].takes}, and no '
                "autocast, got another convolution"
            )
    if algorithm == "torch" or c is None:
        try:
            return torchs(input, *rest)
        except Exception as error:
            if type(error) not in _ERRORS:
                raise
            raise _told(op, error, input, *rest) from None
    result = convolve(c, algorithm)
    if spatial == 1:
        result = result[:, :, 0]
    return result if input.dim() == spatial + 2 else result[0]


_ERRORS = RuntimeError, TypeError, ValueError, IndexError, NotImplementedError


def _told(op: str, error: Exception, *call: Any) -> Exception:
    """What torch says is wrong with a call, of its own type, with the call."""
    names = "input", "weight", "bias", "stride", "padding", "dilation", "groups"
    given = ", ".join(f"{name} {_in_words(v)}" for name, v in zip(names, call, strict=True))
    return type(error)(f"{op}: {str(error).rstrip('.')}. Got {given}")


def _in_words(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    return f"{tuple(value.shape)} of {value.dtype} on {value.device}"


def chosen(spatial: int, input: Tensor, *rest: Any) -> tuple[str, Convolution | None]:
    """The algorithm of the table, and the call in one form, or None where torch takes it."""
    if is_torchs(spatial, input, rest[0]):
        return "torch", None
    signature = None if torch.compiler.is_compiling() else _signature(spatial, input, *rest)
    if (known := remembered(signature)) is not None:
        algorithm, geometry = known
        if algorithm == "torch":
            return algorithm, None
        return algorithm, convolution_again(spatial, geometry, input, *rest[:2])
    if (c := convolution_of(spatial, input, *rest)) is None:
        return "torch", None
    algorithm = choose(c)
    if signature is not None:
        remember(signature, algorithm, c.geometry)
    return algorithm, c


def _signature(
    spatial: int, input: Any, weight: Any, bias: Any, *options: Any
) -> tuple[Any, ...] | None:
    """What the choice of an algorithm on the CPU depends on; None where that has no hash."""
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor) or not input.is_cpu:
        return None
    found = (
        spatial,
        input.shape,
        input.stride(),
        input.dtype,
        weight.shape,
        bias is not None,
        multiplies_in_bf16(),
        torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad),
        *options,
    )
    try:
        hash(found)
    except TypeError:  # lists, and sizes that are symbols
        return None
    return found


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
