"""The operators behind convolution by implicit products of matrices: fake, gradients, vmap.

They are the three forms of one map, linear in input, weight and output: each one's gradients are
the other two. On CUDA they are kernels of ours, in float32; on the CPU torch's convolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._autograd import differentiable
from pyfast.ops._fake import register_fake
from pyfast.ops._layouts import empty_like_image
from pyfast.ops._vmap import loop_vmap

_conv_op = torch.ops.pyfast.implicit_conv2d.default
_input_op = torch.ops.pyfast.implicit_conv2d_input.default
_weight_op = torch.ops.pyfast.implicit_conv2d_weight.default
Pair = list[int]  # (height, width)


@torch.library.impl("pyfast::implicit_conv2d", "CPU")
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    result = F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return empty_like_image(input, result.shape, result.dtype).copy_(result)


@torch.library.impl("pyfast::implicit_conv2d_input", "CPU")
def _(grad: Tensor, weight: Tensor, in_h: int, in_w: int, *options: Any) -> Tensor:
    size = grad.shape[0], weight.shape[1] * options[-1], in_h, in_w
    result = conv2d_input(size, weight, grad, *options)
    return empty_like_image(grad, size, grad.dtype).copy_(result)


@torch.library.impl("pyfast::implicit_conv2d_weight", "CPU")
def _(input: Tensor, grad: Tensor, kernel_h: int, kernel_w: int, *options: Any) -> Tensor:
    size = grad.shape[1], input.shape[1] // options[-1], kernel_h, kernel_w
    return conv2d_weight(input, size, grad, *options).contiguous()


@register_fake(_conv_op)
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    size = [
        (input.shape[2 + a] + 2 * padding[a] - dilation[a] * (weight.shape[2 + a] - 1) - 1)
        // stride[a]
        + 1
        for a in (0, 1)
    ]
    return empty_like_image(input, (input.shape[0], weight.shape[0], *size), input.dtype)


@register_fake(_input_op)
def _(grad: Tensor, weight: Tensor, in_h: int, in_w: int, *options: Any) -> Tensor:
    shape = grad.shape[0], weight.shape[1] * options[-1], in_h, in_w
    return empty_like_image(grad, shape, grad.dtype)


@register_fake(_weight_op)
def _(input: Tensor, grad: Tensor, kernel_h: int, kernel_w: int, *options: Any) -> Tensor:
    return input.new_empty(grad.shape[1], input.shape[1] // options[-1], kernel_h, kernel_w)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, *ctx.rest = inputs
    ctx.shape = output.shape
    ctx.save_for_backward(a, b)
    ctx.save_for_forward(a, b)


def _sum(terms: list[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0])


def _backward_conv(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (input, weight), (bias, *options) = ctx.saved_tensors, ctx.rest
    needs = ctx.needs_input_grad
    return (
        _input(grad, weight, *input.shape[2:], *options) if needs[0] else None,
        _weight(input, grad, *weight.shape[2:], *options) if needs[1] else None,
        grad.sum((0, 2, 3)) if bias is not None and needs[2] else None,
        *(None,) * len(options),
    )


def _jvp_conv(ctx: Any, by_input: Any, by_weight: Any, by_bias: Any, *_: Any) -> Tensor:
    (input, weight), (_bias, *options) = ctx.saved_tensors, ctx.rest
    terms = []
    if by_input is not None:
        terms.append(_conv(by_input, weight, None, *options))
    if by_weight is not None:
        terms.append(_conv(input, by_weight, None, *options))
    if by_bias is not None:
        terms.append(by_bias[:, None, None].expand(ctx.shape))
    return _sum(terms)


def _backward_input(ctx: Any, by_input: Tensor) -> tuple[Any, ...]:
    (grad, weight), (_, _, *options) = ctx.saved_tensors, ctx.rest
    needs = ctx.needs_input_grad
    return (
        _conv(by_input, weight, None, *options) if needs[0] else None,
        _weight(by_input, grad, *weight.shape[2:], *options) if needs[1] else None,
        *(None,) * len(ctx.rest),
    )


def _backward_weight(ctx: Any, by_weight: Tensor) -> tuple[Any, ...]:
    (input, grad), (_, _, *options) = ctx.saved_tensors, ctx.rest
    needs = ctx.needs_input_grad
    return (
        _input(grad, by_weight, *input.shape[2:], *options) if needs[0] else None,
        _conv(input, by_weight, None, *options) if needs[1] else None,
        *(None,) * len(ctx.rest),
    )


def _tangent(op: Any, ctx: Any, by_first: Any, by_second: Any) -> Tensor:
    """That of one of the gradients, which are linear in either tensor."""
    first, second = ctx.saved_tensors
    terms = []
    if by_first is not None:
        terms.append(op(by_first, second, *ctx.rest))
    if by_second is not None:
        terms.append(op(first, by_second, *ctx.rest))
    return _sum(terms)


def _jvp_input(ctx: Any, by_grad: Any, by_weight: Any, *_: Any) -> Tensor:
    return _tangent(_input, ctx, by_grad, by_weight)


def _jvp_weight(ctx: Any, by_input: Any, by_grad: Any, *_: Any) -> Tensor:
    return _tangent(_weight, ctx, by_input, by_grad)


_conv = differentiable(_conv_op, _setup, _backward_conv, _jvp_conv)
_input = differentiable(_input_op, _setup, _backward_input, _jvp_input)
_weight = differentiable(_weight_op, _setup, _backward_weight, _jvp_weight)
for _op in (_conv_op, _input_op, _weight_op):
    loop_vmap(_op)
implicit_conv2d = _conv
implicit_conv2d_weight = _weight
