"""The sum of ASPP as one matrix product and shifts: what torch must know of its operators.

They are the three forms of one trilinear map, so each one's gradients are the other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._fake import register_fake
from pyfast.ops._vmap import loop_vmap

_forward = torch.ops.pyfast.aspp_sum.default
_input_gradient = torch.ops.pyfast.aspp_sum_input_gradient.default
_weight_gradient = torch.ops.pyfast.aspp_sum_weight_gradient.default


def aspp_by_products(input: Tensor, weights: Sequence[Tensor], rates: Sequence[int]) -> Tensor:
    """`aspp_sum` without biases by the operators: (N, C, H, W) -> (N, O, H, W).

    For float32 and float64 on the CPU, outside of the transforms of `torch.func`.
    """
    taps = sorted(
        (
            ((y - weight.shape[2] // 2) * rate, (x - weight.shape[3] // 2) * rate, i, y, x)
            for i, (weight, rate) in enumerate(zip(weights, rates, strict=True))
            for y in range(weight.shape[2])
            for x in range(weight.shape[3])
        ),
    )
    stacked = torch.stack([weights[i][:, :, y, x] for _, _, i, y, x in taps])
    return _forward(input, stacked, [tap[0] for tap in taps], [tap[1] for tap in taps])


@register_fake("pyfast::aspp_sum")
def _(input: Tensor, weight: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    return input.new_empty(input.shape[0], weight.shape[1], *input.shape[2:])


@register_fake("pyfast::aspp_sum_input_gradient")
def _(grad: Tensor, weight: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    return grad.new_empty(grad.shape[0], weight.shape[2], *grad.shape[2:])


@register_fake("pyfast::aspp_sum_weight_gradient")
def _(grad: Tensor, input: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    return grad.new_empty(len(rows), grad.shape[1], input.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.taps = inputs[2:]


def _of_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, weight = ctx.saved_tensors
    of_input, of_weight, *_ = ctx.needs_input_grad
    return (
        _input_gradient(grad, weight, *ctx.taps) if of_input else None,
        _weight_gradient(grad, input, *ctx.taps) if of_weight else None,
        None,
        None,
    )


def _of_input_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    outputs, weight = ctx.saved_tensors
    of_outputs, of_weight, *_ = ctx.needs_input_grad
    return (
        _forward(grad, weight, *ctx.taps) if of_outputs else None,
        _weight_gradient(outputs, grad, *ctx.taps) if of_weight else None,
        None,
        None,
    )


def _of_weight_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    outputs, input = ctx.saved_tensors
    of_outputs, of_input, *_ = ctx.needs_input_grad
    return (
        _forward(input, grad, *ctx.taps) if of_outputs else None,
        _input_gradient(outputs, grad, *ctx.taps) if of_input else None,
        None,
        None,
    )


for _operator, _formula in (
    (_forward, _of_forward),
    (_input_gradient, _of_input_gradient),
    (_weight_gradient, _of_weight_gradient),
):
    torch.library.register_autograd(_operator, _formula, setup_context=_setup)
    loop_vmap(_operator)
