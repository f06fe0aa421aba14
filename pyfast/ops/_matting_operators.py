"""What torch must know of the operators of the matting Laplacian: shapes, gradients, vmap.

csrc/ops/matting/matting_torch.cpp has the schemas. v is (B, C, H, W), image (B, D, H, W).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C
from pyfast.ops import _matting_reference as reference
from pyfast.ops._autograd import differentiable
from pyfast.ops._fake import register_fake
from pyfast.ops._vmap import fold_vmap

_ops = torch.ops.pyfast


# --- shapes ---------------------------------------------------------------------------------------


def _check(v: Tensor, image: Tensor, radius: int) -> None:
    """What the glue checks, for tensors without data."""
    torch._check(v.dim() == image.dim() == 4 and v.dtype == image.dtype)
    torch._check(v.shape[0] == image.shape[0] and v.shape[2:] == image.shape[2:])
    torch._check(min(image.shape[2:]) > 2 * radius)


@register_fake("pyfast::matting_energy")
def _(
    v: Tensor, image: Tensor, epsilon: float, radius: int, of_v: bool, of_image: bool
) -> tuple[Tensor, Tensor, Tensor]:
    _check(v, image, radius)
    nothing = (v.shape[0], 0, 0, 0)
    product = v.new_empty(v.shape if of_v else nothing)
    return v.new_empty(v.shape[0]), product, v.new_empty(image.shape if of_image else nothing)


@register_fake("pyfast::matting_energy_backward")
def _(
    grad: Tensor,
    v: Tensor,
    image: Tensor,
    product: Tensor,
    slope: Tensor,
    epsilon: float,
    radius: int,
) -> tuple[Tensor, Tensor]:
    return product.new_empty(product.shape), slope.new_empty(slope.shape)


@register_fake("pyfast::matting_product")
def _(v: Tensor, image: Tensor, epsilon: float, radius: int) -> Tensor:
    _check(v, image, radius)
    return v.new_empty(v.shape)


@register_fake("pyfast::matting_slope")
def _(u: Tensor, v: Tensor, image: Tensor, epsilon: float, radius: int) -> Tensor:
    _check(v, image, radius)
    return image.new_empty(image.shape)


@register_fake("pyfast::matting_diagonal")
def _(image: Tensor, epsilon: float, radius: int) -> Tensor:
    batch, _, height, width = image.shape
    return image.new_empty(batch, height, width)


@register_fake("pyfast::matting_matrix")
def _(image: Tensor, known: Tensor, epsilon: float, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    height, width = image.shape[1:]
    # Along a side each pixel meets those at most 2 radius away.
    entries = count_pairs(height, radius) * count_pairs(width, radius)
    row_start = image.new_empty(height * width + 1, dtype=torch.int32)
    return row_start, row_start.new_empty(entries), image.new_empty(entries)


def count_pairs(side: int, radius: int) -> int:
    """Pairs of pixels along a side that have a window in common."""
    return (4 * radius + 1) * side - 2 * radius * (2 * radius + 1)


@register_fake("pyfast::matting_solve")
def _(
    rhs: Tensor,
    x: Tensor,
    image: Tensor,
    diagonal: Tensor,
    known: Tensor,
    epsilon: float,
    radius: int,
    tolerance: float,
    most_iterations: int,
) -> tuple[Tensor, Tensor]:
    _check(x, image, radius)
    return x.new_empty(x.shape), x.new_empty(*x.shape[:2], 3, device="cpu")


# --- gradients ------------------------------------------------------------------------------------


def _vjp(function: Any, inputs: tuple[Tensor, ...], cotangents: Any) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.func.vjp(function, *inputs)[1](cotangents)
    return gradients


def _setup_slope(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.window = inputs[3:]


def _slope_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    def slope(u: Tensor, v: Tensor, image: Tensor) -> Tensor:
        def form(image: Tensor) -> Tensor:
            return reference.matting_form_reference(u, v, image, *ctx.window)

        return _vjp(form, (image,), torch.ones_like(v[:, :, 0, 0]))[0]

    return (*_vjp(slope, ctx.saved_tensors, grad), None, None)


slope = differentiable(_ops.matting_slope.default, _setup_slope, _slope_backward)


def _setup_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.window = inputs[2:]


def _product_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    v, image = ctx.saved_tensors
    of_v, of_image = ctx.needs_input_grad[:2]
    return (
        product(grad, image, *ctx.window) if of_v else None,
        slope(grad, v, image, *ctx.window) if of_image else None,
        None,
        None,
    )


product = differentiable(
    _ops.matting_product.default, _setup_product, _product_backward, autocast=torch.float32
)


def _setup_energy(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:2], *output[1:])
    ctx.window, ctx.asked = inputs[2:4], inputs[4:]
    ctx.set_materialize_grads(False)


def _energy_backward(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 6
    grads = list(_scaled(grad, *ctx.saved_tensors, *ctx.window))
    v, image, *_ = ctx.saved_tensors
    # Transforms of torch.func do not tell the forward that a gradient will be wanted.
    if ctx.needs_input_grad[0] and not ctx.asked[0]:
        grads[0] = 2 * product(v, image, *ctx.window) * grad[:, None, None, None]
    if ctx.needs_input_grad[1] and not ctx.asked[1]:
        grads[1] = slope(v, v, image, *ctx.window) * grad[:, None, None, None]
    grads = [g if wanted else None for g, wanted in zip(grads, ctx.needs_input_grad, strict=False)]
    return (*grads, *(None,) * 4)


def _setup_energy_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    pairs = zip(inputs[3:5], inputs[1:3], strict=True)
    ctx.asked = [saved.shape == like.shape for saved, like in pairs]
    ctx.window = inputs[5:]
    ctx.set_materialize_grads(False)


def _energy_backward_backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors

    def first_order(grad: Tensor, v: Tensor, image: Tensor) -> tuple[Tensor, ...]:
        def energy(v: Tensor, image: Tensor) -> Tensor:
            return reference.matting_energy_reference(v, image, *ctx.window)

        return _vjp(energy, (v, image), grad)

    cotangents = tuple(
        grad if grad is not None and asked else torch.zeros_like(like)
        for grad, asked, like in zip(grads, ctx.asked, saved[1:], strict=True)
    )
    return (*_vjp(first_order, saved, cotangents), *(None,) * 4)


_scaled = differentiable(
    _ops.matting_energy_backward.default, _setup_energy_backward, _energy_backward_backward
)
energy = differentiable(
    _ops.matting_energy.default, _setup_energy, _energy_backward, autocast=torch.float32
)


def _setup_solve(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[2:5], output[0])
    ctx.options = inputs[5:]
    ctx.set_materialize_grads(False)


def _solve_backward(ctx: Any, grad: Tensor | None, unused: Tensor | None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 9
    image, diagonal, known, x = ctx.saved_tensors
    window = ctx.options[:2]
    of_rhs, of_x, of_image, of_diagonal = ctx.needs_input_grad[:4]
    # One adjoint solve: the system is symmetric. In known pixels the adjoint is 0.
    is_known = known[:, None] != 0
    zeros = torch.zeros_like(grad)
    adjoint = solve(grad, zeros, image, diagonal, known, *ctx.options)[0]
    held = grad - product(adjoint, image, *window) if of_x else grad
    return (
        adjoint if of_rhs else None,
        torch.where(is_known, held, zeros) if of_x else None,
        -slope(adjoint, x, image, *window) if of_image else None,
        -(adjoint * x).sum(1) if of_diagonal else None,
        *(None,) * 5,
    )


_solve = differentiable(_ops.matting_solve.default, _setup_solve, _solve_backward)


def solve(*arguments: Any) -> tuple[Tensor, Tensor]:
    """`matting_solve`, which Ctrl-C ends within some iterations."""
    if torch.compiler.is_compiling():
        return _solve(*arguments)  # type: ignore[no-any-return]
    return _C.with_matting_progress(None, lambda: _solve(*arguments))  # type: ignore[no-any-return]


fold_vmap(_ops.matting_solve.default, like=(None,) * 2)
fold_vmap(_ops.matting_energy.default, like=(None,) * 3)
fold_vmap(_ops.matting_energy_backward.default, like=(None,) * 2)
fold_vmap(_ops.matting_product.default)
fold_vmap(_ops.matting_slope.default)
fold_vmap(_ops.matting_diagonal.default)
