"""Gradients of convolutions of stride 1 whose operators compute their own adjoint.

Such an operator takes `(input, weight, bias, *options, padding_h, padding_w, dilation_h,
dilation_w, adjoint)`. The adjoint convolution has turned taps and goes from the outputs of the
weight to its channels. The gradient of the weight is torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import differentiable
from pyfast.ops._fake import register_fake
from pyfast.ops._layouts import empty_like_image
from pyfast.ops._vmap import loop_vmap


def result_size(input: Tensor, weight: Tensor, geometry: Sequence[int]) -> list[int]:
    """Height and width of a result of stride 1, of a geometry (padding_h, padding_w, dilation_h,
    dilation_w)."""
    return [
        input.shape[2 + a] + 2 * geometry[a] - geometry[2 + a] * (weight.shape[2 + a] - 1)
        for a in (0, 1)
    ]


def result_like(input: Tensor, weight: Tensor, outputs: int, geometry: Sequence[int]) -> Tensor:
    """An empty result of stride 1."""
    size = result_size(input, weight, geometry)
    return empty_like_image(input, (input.shape[0], outputs, *size), input.dtype)


def adjoint_geometry(weight: Tensor, geometry: Sequence[int]) -> list[int]:
    """The geometry of the adjoint: what the taps reach beyond the padding."""
    pad_h, pad_w, *by = geometry
    return [by[0] * (weight.shape[2] - 1) - pad_h, by[1] * (weight.shape[3] - 1) - pad_w, *by]


def own_adjoint(op: torch._ops.OpOverload, *, much_scratch: bool = False) -> Callable[..., Tensor]:
    """Gives `op` its fake, derivative and vmap; returns what public functions call.

    `much_scratch` says whether `op` needs more memory for its work than torch's gradient of the
    weight: what needs more comes first, when the other gradient is not there yet.
    """

    def fake(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        *geometry, adjoint = options[-5:]
        return result_like(input, weight, weight.shape[1 if adjoint else 0], geometry)

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
        needs, rest = ctx.needs_input_grad, adjoint_geometry(weight, ctx.geometry)

        def of_input() -> Tensor:
            return call(grad, weight, None, *ctx.options, *rest, not ctx.adjoint)

        by_input = of_input() if needs[0] and much_scratch else None
        by_weight = None
        if needs[1]:
            image, sums, around = (
                (grad, input, rest) if ctx.adjoint else (input, grad, ctx.geometry)
            )
            by_weight = torch.ops.aten.convolution_backward(
                sums, image, weight, None, (1, 1), around[:2], around[2:], False,
                (0, 0), 1, (False, True, False),
            )[1]  # fmt: skip
        if needs[0] and not much_scratch:
            by_input = of_input()
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
    register_fake(op)(fake)
    loop_vmap(op)
    return call
