"""Gradients of convolutions of stride 1 whose operators compute their own adjoint.

Such an operator takes `(input, weight, bias, *options, padding_h, padding_w, dilation_h,
dilation_w, adjoint)`. The adjoint convolution has turned taps and goes from the outputs of the
weight to its channels. The gradient of the weight is torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import differentiable
from pyfast.ops._layouts import empty_like_image
from pyfast.ops._vmap import loop_vmap


def own_adjoint(op: torch._ops.OpOverload) -> Callable[..., Tensor]:
    """Gives `op` its fake, derivative and vmap; returns what public functions call."""

    def fake(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        *_, padding_h, padding_w, dilation_h, dilation_w, adjoint = options
        size = (
            n + 2 * p - d * (k - 1)
            for n, p, d, k in zip(
                input.shape[2:],
                (padding_h, padding_w),
                (dilation_h, dilation_w),
                weight.shape[2:],
                strict=True,
            )
        )
        outputs = weight.shape[1 if adjoint else 0]
        return empty_like_image(input, (input.shape[0], outputs, *size), input.dtype)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, bias, *options = inputs
        # Weights that came transformed are no part of the derivative.
        ctx.options = [None if isinstance(o, Tensor) else o for o in options[:-5]]
        ctx.geometry, ctx.adjoint = options[-5:-1], options[-1]
        ctx.has_bias, ctx.shape = bias is not None, output.shape
        ctx.save_for_backward(input, weight)
        ctx.save_for_forward(input, weight)

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors
        needs, padding, by = ctx.needs_input_grad, ctx.geometry[:2], ctx.geometry[2:]
        around = [d * (k - 1) - p for d, k, p in zip(by, weight.shape[2:], padding, strict=True)]
        by_input = by_weight = None
        if needs[0]:
            by_input = call(grad, weight, None, *ctx.options, *around, *by, not ctx.adjoint)
        if needs[1]:
            image, sums = (grad, input) if ctx.adjoint else (input, grad)
            by_weight = torch.ops.aten.convolution_backward(
                sums, image, weight, None, (1, 1), around if ctx.adjoint else padding, by, False,
                (0, 0), 1, (False, True, False),
            )[1]  # fmt: skip
        by_bias = grad.sum((0, 2, 3)) if ctx.has_bias and needs[2] else None
        return by_input, by_weight, by_bias, *(None,) * (len(ctx.options) + 5)

    def jvp(ctx: Any, by_input: Any, by_weight: Any, by_bias: Any, *_: Any) -> Tensor:
        input, weight = ctx.saved_tensors
        rest = (None, *ctx.options, *ctx.geometry, ctx.adjoint)
        parts = []
        if by_input is not None:
            parts.append(call(by_input, weight, *rest))
        if by_weight is not None:
            parts.append(call(input, by_weight, *rest))
        if by_bias is not None:
            parts.append(by_bias[:, None, None].expand(ctx.shape))
        return sum(parts[1:], parts[0])

    call = differentiable(op, setup, backward, jvp)
    torch.library.register_fake(op, fake)
    loop_vmap(op)
    return call
