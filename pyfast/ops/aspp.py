"""Atrous spatial pyramid pooling: convolutions of one input at several dilations, side by side.

Reference: Chen, Papandreou, Kokkinos, Murphy, Yuille: DeepLab, 2016, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast._native import _C
from pyfast.ops._aspp_operators import aspp_by_products
from pyfast.ops._aspp_shifts import MOST_TAPS
from pyfast.ops._autograd import convolves_in_tf32, is_autocast_on, is_in_transform
from pyfast.ops._branches import read_branches, same_padding
from pyfast.ops._checks import FLOATS, HALVES, shape_error
from pyfast.ops.dilated_conv import dilated_conv2d

# Where one product with all taps' weights has been measured as faster than a convolution each
# (benchmarks/ops/bench_aspp.py). Convolutions take outputs by 16 and are best there.
LEAST_INPUTS, MOST_OUTPUTS, BLOCK_OF_OUTPUTS = 256, 24, 16
# Not measured: half of the outputs that a convolution's tile has on CUDA.
MOST_CUDA_OUTPUTS = 64


def aspp_sum(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    rates: Sequence[int],
) -> Tensor:
    """The sum of dilated convolutions of one input, as in the head of DeepLab v2.

    Every branch is padded so that the result has the size of the input.

    Args:
        input: features, (N, C, H, W), of any float dtype.
        weights: one for each branch, (O, C, kernel, kernel), sides of kernels odd.
        biases: one for each branch, (O,) or None; or None for none at all.
        rates: dilation of each branch, positive. DeepLab v2 has 6, 12, 18, 24.

    Returns:
        (N, O, H, W).

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes, devices or the number of branches do not fit.

    Differentiable in input, weights and biases. On the CPU, in float32 and float64 and from many
    channels into few, all branches are one product of matrices, of which what padding would
    multiply by zero is left out where it fills rows; elsewhere each is a `dilated_conv2d`.

    Reference: Chen et al. 2016, section 3.2.

    Example:
        >>> input = torch.ones(1, 2, 9, 9)
        >>> weights = [torch.ones(1, 2, 3, 3)] * 2
        >>> aspp_sum(input, weights, None, [1, 2])[0, 0, 4, 4]
        tensor(36.)
    """
    weights, biases, rates = read_branches(
        "aspp_sum", input, weights, biases, rates, "rates", chained=False
    )
    for i, weight in enumerate(weights):
        if weight.shape[0] != weights[0].shape[0]:
            wanted = f"({weights[0].shape[0]}, ...) like weights[0]"
            raise shape_error("aspp_sum", f"weights[{i}]", wanted, weight)
    if is_autocast_on(input.device.type) and _has_kernels(input, weights):
        dtype = torch.get_autocast_dtype(input.device.type)
        with torch.autocast(input.device.type, enabled=False):
            return aspp_sum(
                input.to(dtype),
                [weight.to(dtype) for weight in weights],
                [None if bias is None else bias.to(dtype) for bias in biases],
                rates,
            )
    if not _is_taken(input, weights):
        return torch.stack(_branches(dilated_conv2d, input, weights, biases, rates)).sum(0)
    total = aspp_by_products(input, weights, rates)
    given = [bias for bias in biases if bias is not None]
    return total + torch.stack(given).sum(0)[:, None, None] if given else total


def _is_taken(input: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether products and shifts are faster than torch's convolutions, and there for this call."""
    outputs = weights[0].shape[0]
    if input.shape[1] < LEAST_INPUTS or (is_in_transform() and not torch.compiler.is_compiling()):
        return False
    if input.device.type == "cpu":
        return (
            input.dtype in FLOATS
            and outputs <= MOST_OUTPUTS
            and outputs % BLOCK_OF_OUTPUTS != 0
            and not is_autocast_on("cpu")
        )
    return _has_kernels(input, weights) and outputs <= MOST_CUDA_OUTPUTS and _is_as_exact(input)


def _has_kernels(input: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether CUDA shifts are there for this call."""
    return (
        input.device.type == "cuda"
        and _C.with_cuda
        and input.dtype in (*FLOATS, *HALVES)
        and sum(weight.shape[2:].numel() for weight in weights) <= MOST_TAPS
    )


def _is_as_exact(input: Tensor) -> bool:
    """Whether torch's products round float32 as its convolutions do.

    By default they do not: convolutions take TF32, which is several times as fast.
    """
    products = torch.backends.cuda.matmul.fp32_precision  # type: ignore[attr-defined]
    return input.dtype != torch.float32 or not convolves_in_tf32() or products == "tf32"


def aspp_concat(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    rates: Sequence[int],
) -> Tensor:
    """Dilated convolutions of one input, their channels one after another, as in DeepLab v3.

    Every branch is padded so that the result has the size of the input. A kernel of 1 x 1 has no
    dilation: its rate may be any.

    Args:
        input: features, (N, C, H, W), of any float dtype.
        weights: one for each branch, (O_i, C, kernel, kernel), sides of kernels odd.
        biases: one for each branch, (O_i,) or None; or None for none at all.
        rates: dilation of each branch, positive.

    Returns:
        (N, sum of O_i, H, W).

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes, devices or the number of branches do not fit.

    Differentiable in input, weights and biases. Each branch is a `dilated_conv2d`: with this many
    outputs torch's library is at the peak of the machine, in the right one of the memory formats.

    Reference: Chen, Papandreou, Schroff, Adam 2017, Rethinking Atrous Convolution, section 3.3.

    Example:
        >>> input = torch.ones(1, 2, 9, 9)
        >>> weights = [torch.ones(3, 2, 1, 1), torch.ones(4, 2, 3, 3)]
        >>> aspp_concat(input, weights, None, [1, 2]).shape
        torch.Size([1, 7, 9, 9])
    """
    branches = read_branches("aspp_concat", input, weights, biases, rates, "rates", chained=False)
    return torch.cat(_branches(dilated_conv2d, input, *branches), 1)


def aspp_sum_reference(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    rates: Sequence[int],
) -> Tensor:
    """The definition of `aspp_sum`."""
    return torch.stack(_branches(F.conv2d, input, weights, biases, rates)).sum(0)


def aspp_concat_reference(
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    rates: Sequence[int],
) -> Tensor:
    """The definition of `aspp_concat`."""
    return torch.cat(_branches(F.conv2d, input, weights, biases, rates), 1)


def _branches(
    convolve: Callable[..., Tensor],
    input: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    rates: Sequence[int],
) -> list[Tensor]:
    of_branches = [None] * len(weights) if biases is None else biases
    return [
        convolve(input, weight, bias, padding=same_padding(weight, rate), dilation=rate)
        for weight, bias, rate in zip(weights, of_branches, rates, strict=True)
    ]
