"""The operator behind a layer of a context module: a convolution, its bias and a ReLU at once.

It is a kernel of ours for few channels, on CUDA in float32, on the CPU in float32 and float64. Its
adjoint is an operator of the same kind, with turned taps and without a ReLU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._autograd import differentiable
from pyfast.ops._conv_gradients import adjoint_geometry, result_like
from pyfast.ops._fake import register_fake
from pyfast.ops._implicit_conv import implicit_conv2d_weight
from pyfast.ops._vmap import loop_vmap

MOST_TAPS = 512  # kMostDirectTaps of direct_conv_cuda.h

_op = torch.ops.pyfast.context_conv2d.default


@register_fake(_op)
def _(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    return result_like(input, weight, weight.shape[int(options[4])], options[:4])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, bias, *ctx.geometry, ctx.adjoint, ctx.relu = inputs
    ctx.has_bias, ctx.shape = bias is not None, output.shape
    ctx.save_for_backward(input, weight, output)
    ctx.save_for_forward(input, weight, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, weight, output = ctx.saved_tensors
    needs, rest = ctx.needs_input_grad, adjoint_geometry(weight, ctx.geometry)
    if ctx.relu:
        grad = _through_relu(grad, output)
    of_input = of_weight = None
    if needs[1]:  # first: its scratch is gone when the gradient of the input comes
        # The adjoint is the gradient of the input of a convolution: the images change places.
        images, around = ((grad, input), rest) if ctx.adjoint else ((input, grad), ctx.geometry)
        options = [1, 1], list(around[:2]), list(around[2:]), 1
        of_weight = implicit_conv2d_weight(*images, *weight.shape[2:], *options)
    if needs[0]:
        of_input = context_conv2d(grad, weight, None, *rest, not ctx.adjoint, False)
    of_bias = grad.sum((0, 2, 3)) if ctx.has_bias and needs[2] else None
    return of_input, of_weight, of_bias, *(None,) * 6


def _jvp(ctx: Any, by_input: Any, by_weight: Any, by_bias: Any, *_: Any) -> Tensor:
    input, weight, output = ctx.saved_tensors
    options = (*ctx.geometry, ctx.adjoint, False)
    terms = []
    if by_input is not None:
        terms.append(context_conv2d(by_input, weight, None, *options))
    if by_weight is not None:
        terms.append(context_conv2d(input, by_weight, None, *options))
    if by_bias is not None:
        terms.append(by_bias[:, None, None].expand(ctx.shape))
    total = sum(terms[1:], terms[0])
    return _through_relu(total, output) if ctx.relu else total


def _through_relu(grad: Tensor, output: Tensor) -> Tensor:
    """Zero where the output is, even if infinite."""
    return torch.ops.aten.threshold_backward(grad, output, 0)


context_conv2d = differentiable(_op, _setup, _backward, _jvp)
loop_vmap(_op)
