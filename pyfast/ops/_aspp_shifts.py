"""ASPP into few outputs on CUDA: products of matrices by torch, shifts by kernels of ours.

Products of all taps, (N, taps, O, H, W), are `taps` times as large as the result: a batch is taken
in pieces of `MOST_BYTES` of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._autograd import differentiable
from pyfast.ops._fake import register_fake
from pyfast.ops._vmap import fold_vmap

MOST_BYTES = 2**25
MOST_TAPS = 256  # kMostAsppTaps of aspp_shifts.h

_add_op = torch.ops.pyfast.aspp_add.default
_spread_op = torch.ops.pyfast.aspp_spread.default
Taps = tuple[list[int], list[int]]  # rows and columns


@register_fake(_add_op)
def _(products: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    return products.new_empty(products.shape[0], *products.shape[2:])


@register_fake(_spread_op)
def _(image: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    return image.new_empty(image.shape[0], len(rows), *image.shape[1:])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.taps = inputs[1:]


# Either is the adjoint of the other.


def _backward_add(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return aspp_spread(grad, *ctx.taps), None, None


def _jvp_add(ctx: Any, tangent: Tensor, *_: Any) -> Any:
    return aspp_add(tangent, *ctx.taps)


def _backward_spread(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return aspp_add(grad, *ctx.taps), None, None


def _jvp_spread(ctx: Any, tangent: Tensor, *_: Any) -> Any:
    return aspp_spread(tangent, *ctx.taps)


aspp_add = differentiable(_add_op, _setup, _backward_add, _jvp_add)
aspp_spread = differentiable(_spread_op, _setup, _backward_spread, _jvp_spread)
fold_vmap(_add_op)
fold_vmap(_spread_op)


def _pieces(image: Tensor, outputs: int, taps: int) -> Iterator[slice]:
    each = taps * outputs * image.shape[2] * image.shape[3] * image.element_size()
    step = max(1, MOST_BYTES // max(1, each))
    for begin in range(0, image.shape[0], step):
        yield slice(begin, begin + step)


def sum_of_taps(input: Tensor, weight: Tensor, *taps: list[int]) -> Tensor:
    """(N, C, H, W), (taps, O, C) -> (N, O, H, W)."""
    outputs, size = weight.shape[1], input.shape[2:]
    matrix = weight.flatten(0, 1)
    result = input.new_empty(input.shape[0], outputs, *size)
    for piece in _pieces(input, outputs, len(weight)):
        products = matrix @ input[piece].flatten(2)
        shape = (len(weight), outputs)
        result[piece] = _add_op(products.unflatten(1, shape).unflatten(3, size), *taps)
    return result


def input_gradient(grad: Tensor, weight: Tensor, *taps: list[int]) -> Tensor:
    """(N, O, H, W), (taps, O, C) -> (N, C, H, W)."""
    matrix = weight.flatten(0, 1).t()
    result = grad.new_empty(grad.shape[0], weight.shape[2], *grad.shape[2:])
    for piece in _pieces(grad, *weight.shape[1::-1]):
        products = _spread_op(grad[piece], *taps).flatten(1, 2).flatten(2)
        torch.matmul(matrix, products, out=result[piece].flatten(2))
    return result


def weight_gradient(grad: Tensor, input: Tensor, *taps: list[int]) -> Tensor:
    """(N, O, H, W), (N, C, H, W) -> (taps, O, C)."""
    count, outputs = len(taps[0]), grad.shape[1]
    total = grad.new_zeros(count * outputs, input.shape[1])
    for piece in _pieces(grad, outputs, count):
        products = _spread_op(grad[piece], *taps).flatten(1, 2).flatten(2)
        for of_image, image in zip(products, input[piece].flatten(2), strict=True):
            total.addmm_(of_image, image.t())
    return total.unflatten(0, (count, outputs))


torch.library.impl("pyfast::aspp_sum", "CUDA")(sum_of_taps)
torch.library.impl("pyfast::aspp_sum_input_gradient", "CUDA")(input_gradient)
torch.library.impl("pyfast::aspp_sum_weight_gradient", "CUDA")(weight_gradient)
