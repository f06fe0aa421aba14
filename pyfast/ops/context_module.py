"""A stack of dilated convolutions whose view doubles from layer to layer.

Reference: Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, 2016, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast._native import _C
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._branches import read_branches, same_padding
from pyfast.ops._checks import expect_choice
from pyfast.ops._context_conv import MOST_TAPS, context_conv2d
from pyfast.ops._conv_routes import convolve
from pyfast.ops.dilated_conv import chosen

PADDINGS = ("layer", "front")
_MOST_CHANNELS = 32  # beyond them a convolution fills the tiles of torch's kernels


def context_module(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    dilations: Sequence[int],
    padding: Literal["layer", "front"] = "layer",
) -> Tensor:
    """Dilated convolutions one after another, with a ReLU after each but the last.

    Args:
        input: scores or features, (N, C, H, W), of any float dtype.
        weights: one for each layer, (outputs, inputs, kernel, kernel), sides of kernels odd.
        biases: one for each layer, (outputs,) or None; or None for none at all.
        dilations: of each layer, positive.
        padding: where the zeros are that keep the size: "layer" around the input of every layer,
            "front" all of them around the input of the first one, so that later layers see what
            became of them. The nets of Yu and Koltun for Pascal VOC have the second, with 33
            zeros, their other nets the first.

    Returns:
        (N, outputs of the last layer, H, W).

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes, devices or the number of layers do not fit.

    Differentiable in input, weights and biases. A layer of few channels is one kernel of ours, with
    bias and ReLU, where that is fastest; others are convolutions as `dilated_conv2d` has them.

    Reference: Yu, Koltun 2016, table 1.

    Example:
        >>> import torch
        >>> input = torch.ones(1, 2, 9, 9)
        >>> weights = [torch.ones(2, 2, 3, 3), torch.ones(1, 2, 1, 1)]
        >>> context_module(input, weights, None, [2, 1])[0, 0, 4, 4]
        tensor(36.)
    """
    weights, biases, dilations = read_branches(
        "context_module", input, weights, biases, dilations, "dilations", chained=True
    )
    expect_choice("context_module", "padding", padding, PADDINGS)
    by_kernel = _has_kernels(input, weights)
    input, margins = _padded(input, weights, dilations, padding)
    last = len(weights) - 1
    for i, parts in enumerate(zip(weights, biases, margins, dilations, strict=True)):
        input = _layer(input, *parts, relu=i < last, by_kernel=by_kernel)
    return input


def _has_kernels(input: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether layers of few channels have a kernel on CUDA that makes all of a layer at once."""
    return (
        input.device.type == "cuda"
        and _C.with_cuda
        and input.dtype == torch.float32
        and not is_autocast_on("cuda")
        and all(
            max(weight.shape[:2]) <= _MOST_CHANNELS and weight.shape[2:].numel() <= MOST_TAPS
            for weight in weights
        )
    )


def _layer(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    margin: tuple[int, int],
    dilation: int,
    relu: bool,
    by_kernel: bool,
) -> Tensor:
    """By the kernel for few channels, which has a ReLU too, or else as `dilated_conv2d`."""
    if not by_kernel:
        algorithm, c = chosen(2, input, weight, bias, 1, margin, dilation, 1)
        by_kernel = algorithm == "direct"
    if by_kernel:
        return context_conv2d(input, weight, bias, *margin, dilation, dilation, False, relu)
    if c is None:
        result = F.conv2d(input, weight, bias, padding=margin, dilation=dilation)
    else:
        result = convolve(c, algorithm)
    return result.relu_() if relu else result


def context_module_reference(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    dilations: Sequence[int],
    padding: str = "layer",
) -> Tensor:
    """The definition of `context_module`."""
    input, margins = _padded(input, weights, dilations, padding)
    for i, (weight, rate, margin) in enumerate(zip(weights, dilations, margins, strict=True)):
        bias = None if biases is None else biases[i]
        input = F.conv2d(input, weight, bias, padding=margin, dilation=rate)
        if i + 1 < len(weights):
            input = F.relu(input)
    return input


def _padded(
    input: Tensor, weights: Sequence[Tensor], dilations: Sequence[int], padding: str
) -> tuple[Tensor, list[tuple[int, int]]]:
    """The input of the first layer, and the padding of each: (rows, columns)."""
    margins = [same_padding(weight, rate) for weight, rate in zip(weights, dilations, strict=True)]
    if padding == "front":
        rows, columns = (sum(sides) for sides in zip(*margins, strict=True))
        input = F.pad(input, (columns, columns, rows, rows))
        margins = [(0, 0)] * len(margins)
    return input, margins
