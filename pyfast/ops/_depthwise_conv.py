"""The operator behind depthwise convolutions: fake, gradients, vmap.

With stride 1 it is its own adjoint: the gradient of the input is the same convolution with turned
weights, of the gradient of the output; with another stride, of that gradient between zeros.
Options are (padding_h, padding_w, dilation_h, dilation_w, stride_h, stride_w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import differentiable
from pyfast.ops._conv_gradients import adjoint_geometry, result_size
from pyfast.ops._fake import register_fake
from pyfast.ops._layouts import empty_like_image, is_channels_last

_conv_op = torch.ops.pyfast.depthwise_conv2d.default
_weight_op = torch.ops.pyfast.depthwise_conv2d_weight.default


@register_fake(_conv_op)
def _(input: Tensor, weight: Tensor, bias: Tensor | None, *options: int) -> Tensor:
    *geometry, stride_h, stride_w = options
    height, width = result_size(input, weight, geometry)
    size = -(-height // stride_h), -(-width // stride_w)
    return empty_like_image(input, (*input.shape[:2], *size), input.dtype)


@register_fake(_weight_op)
def _(input: Tensor, grad: Tensor, kernel_h: int, kernel_w: int, *options: int) -> Tensor:
    return input.new_empty((input.shape[1], 1, kernel_h, kernel_w))


def _adjoint(grad: Tensor, weight: Tensor, options: Sequence[int], input: Tensor) -> Tensor:
    """The gradient of the input."""
    *geometry, stride_h, stride_w = options
    if (stride_h, stride_w) != (1, 1):
        spread = grad.new_zeros(*grad.shape[:2], *result_size(input, weight, geometry))
        if is_channels_last(grad):
            spread = spread.contiguous(memory_format=torch.channels_last)
        spread[:, :, ::stride_h, ::stride_w] = grad
        grad = spread
    return _conv(grad, weight.flip(2, 3), None, *adjoint_geometry(weight, geometry), 1, 1)


def _setup_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, bias, *ctx.options = inputs
    ctx.has_bias, ctx.shape = bias is not None, output.shape
    ctx.save_for_backward(input, weight)
    ctx.save_for_forward(input, weight)


def _backward_conv(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        _adjoint(grad, weight, ctx.options, input) if needs[0] else None,
        _weight(input, grad, *weight.shape[2:], *ctx.options) if needs[1] else None,
        grad.sum((0, 2, 3)) if ctx.has_bias and needs[2] else None,
        *(None,) * 6,
    )


def _jvp_conv(ctx: Any, by_input: Any, by_weight: Any, by_bias: Any, *_: Any) -> Tensor:
    input, weight = ctx.saved_tensors
    parts = []
    if by_input is not None:
        parts.append(_conv(by_input, weight, None, *ctx.options))
    if by_weight is not None:
        parts.append(_conv(input, by_weight, None, *ctx.options))
    if by_bias is not None:
        parts.append(by_bias[:, None, None].expand(ctx.shape))
    return sum(parts[1:], parts[0])


def _setup_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, grad, _, _, *ctx.options = inputs
    ctx.save_for_backward(input, grad)
    ctx.save_for_forward(input, grad)
    ctx.kernel = inputs[2:4]


def _backward_weight(ctx: Any, by_weight: Tensor) -> tuple[Any, ...]:
    input, grad = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        _adjoint(grad, by_weight, ctx.options, input) if needs[0] else None,
        _conv(input, by_weight, None, *ctx.options) if needs[1] else None,
        *(None,) * 8,
    )


def _jvp_weight(ctx: Any, by_input: Any, by_grad: Any, *_: Any) -> Tensor:
    input, grad = ctx.saved_tensors
    parts = []
    if by_input is not None:
        parts.append(_weight(by_input, grad, *ctx.kernel, *ctx.options))
    if by_grad is not None:
        parts.append(_weight(input, by_grad, *ctx.kernel, *ctx.options))
    return sum(parts[1:], parts[0])


_conv = differentiable(_conv_op, _setup_conv, _backward_conv, _jvp_conv)
_weight = differentiable(_weight_op, _setup_weight, _backward_weight, _jvp_weight)


# Channels are independent, so that a mapped dimension joins them.


def _into_channels(x: Tensor, dim: int | None, at: int, size: int) -> Tensor:
    if dim is None:
        mapped = x.unsqueeze(at).expand(*x.shape[:at], size, *x.shape[at:])
    else:
        mapped = x.movedim(dim, at)
    return mapped.flatten(at, at + 1)


def _channels(image: Tensor, dim: int | None) -> int:
    return image.shape[1] if dim is None else image.movedim(dim, 0).shape[2]


def _map_conv(
    info: Any, dims: tuple[Any, ...], input: Tensor, weight: Tensor, bias: Any, *options: int
) -> tuple[Tensor, int]:
    size, channels = info.batch_size, _channels(input, dims[0])
    input = _into_channels(input, dims[0], 1, size)
    weight = _into_channels(weight, dims[1], 0, size)
    if bias is not None:
        bias = _into_channels(bias, dims[2], 0, size)
    result = _conv_op(input, weight, bias, *options)
    return result.unflatten(1, (size, channels)), 1


def _map_weight(
    info: Any, dims: tuple[Any, ...], input: Tensor, grad: Tensor, *options: int
) -> tuple[Tensor, int]:
    size, channels = info.batch_size, _channels(input, dims[0])
    input = _into_channels(input, dims[0], 1, size)
    grad = _into_channels(grad, dims[1], 1, size)
    result = _weight_op(input, grad, *options)
    return result.unflatten(0, (size, channels)), 0


torch.library.register_vmap(_conv_op, _map_conv)
torch.library.register_vmap(_weight_op, _map_weight)
depthwise_conv2d = _conv
