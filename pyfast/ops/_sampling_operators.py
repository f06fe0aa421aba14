"""What torch must know of the operators of sampling: shapes, gradients, vmap, autocast.

Here are `affine_grid`, `grid_sample`, `matrix_sample`, `flow_sample` and `invert_maps` as callables
with every argument by position and options as numbers; csrc/ops/sampling/sampling_torch.cpp has the
schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops import _sampling_reference as reference
from pyfast.ops._autograd import differentiable
from pyfast.ops._checks import HALVES
from pyfast.ops._fake import register_fake
from pyfast.ops._layouts import empty_like_image
from pyfast.ops._vmap import fold_vmap

MODES = ("bilinear", "nearest", "bicubic")
PADDING_MODES = ("zeros", "border", "reflection")

# Options as the operators take them; sampling_torch.cpp says why they are numbers.
MODE = {word: number for number, word in enumerate(MODES)}
PADDING = {word: number for number, word in enumerate(PADDING_MODES)}
NORMALISED, PIXELS = 0, 2  # of `coordinates`; one more with align_corners

_ops = torch.ops.pyfast


# --- shapes ---------------------------------------------------------------------------------------


def _real(input: Tensor) -> torch.dtype:
    """Of coordinates, matrices and gradients."""
    return torch.float64 if input.dtype == torch.float64 else torch.float32


def _check(input: Tensor, places: Tensor) -> None:
    """What the glue checks, for tensors without data."""
    torch._check(input.dim() in (4, 5) and min(input.shape[2:]) > 0)
    torch._check(places.dtype == _real(input) and places.device == input.device)
    torch._check(input.shape[0] in (1, places.shape[0]))


@register_fake("pyfast::affine_grid")
def _(theta: Tensor, depth: int, height: int, width: int, align_corners: bool) -> Tensor:
    dims = theta.shape[1]
    return theta.new_empty(theta.shape[0], *(depth, height, width)[-dims:], dims)


@register_fake("pyfast::affine_grid_backward")
def _(grad_grid: Tensor, align_corners: bool) -> Tensor:
    dims = grad_grid.dim() - 2
    return grad_grid.new_empty(grad_grid.shape[0], dims, dims + 1)


@register_fake("pyfast::grid_sample")
def _(input: Tensor, grid: Tensor, mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    _check(input, grid)
    torch._check(grid.dim() == input.dim() and grid.shape[-1] == input.dim() - 2)
    return empty_like_image(input, (grid.shape[0], input.shape[1], *grid.shape[1:-1]), input.dtype)


@register_fake("pyfast::flow_sample")
def _(input: Tensor, flow: Tensor, mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    _check(input, flow)
    torch._check(flow.dim() == input.dim() and flow.shape[1] == input.dim() - 2)
    return empty_like_image(input, (flow.shape[0], input.shape[1], *flow.shape[2:]), input.dtype)


@register_fake("pyfast::matrix_sample")
def _(
    input: Tensor,
    matrix: Tensor,
    depth: int,
    height: int,
    width: int,
    mode: int,
    padding_mode: int,
    coordinates: int,
) -> Tensor:
    _check(input, matrix)
    dims = input.dim() - 2
    torch._check(matrix.dim() == 3 and matrix.shape[2] == dims + 1)
    shape = (matrix.shape[0], input.shape[1], *(depth, height, width)[-dims:])
    return empty_like_image(input, shape, input.dtype)


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    places: Tensor,
    mode: int,
    padding_mode: int,
    kind: int,
    of_input: bool,
    of_places: bool,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    real = _real(input)
    return (
        empty_like_image(input, input.shape, real) if of_input else input.new_empty(0, dtype=real),
        places.new_empty(places.shape if of_places else 0),
    )


# --- gradients ------------------------------------------------------------------------------------


def _setup_grid(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.sides, ctx.align_corners = inputs[1:4], inputs[4]


def _grid_jvp(ctx: Any, theta: Tensor, *_: Any) -> Tensor:
    return affine_grid(theta, *ctx.sides, ctx.align_corners)


def _grid_backward(ctx: Any, grad_grid: Tensor) -> tuple[Any, ...]:
    return _affine_grid_backward(grad_grid, ctx.align_corners), None, None, None, None


def _setup_grid_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    sides = inputs[0].shape[1:-1]
    ctx.sides = sides if len(sides) == 3 else (1, *sides)
    ctx.align_corners = inputs[1]


def _grid_backward_backward(ctx: Any, grad_theta: Tensor) -> tuple[Any, ...]:
    # The adjoint of a linear map's adjoint is the map.
    return affine_grid(grad_theta, *ctx.sides, ctx.align_corners), None


def _grid_backward_jvp(ctx: Any, grad_grid: Tensor, *_: Any) -> Tensor:
    return _affine_grid_backward(grad_grid, ctx.align_corners)


_affine_grid_backward = differentiable(
    _ops.affine_grid_backward.default,
    _setup_grid_backward,
    _grid_backward_backward,
    _grid_backward_jvp,
)
affine_grid = differentiable(
    _ops.affine_grid.default, _setup_grid, _grid_backward, _grid_jvp, autocast=torch.float32
)
fold_vmap(_ops.affine_grid.default)
fold_vmap(_ops.affine_grid_backward.default)

Definition = Callable[[Tensor, Tensor, Sequence[int], str, str, int], Tensor]


def _sampler(name: str, definition: Definition) -> Callable[..., Tensor]:
    """Gives operator `name`, of an input, its places and options, two orders of derivatives.

    Args:
        name: of the operator, whose last three arguments are options.
        definition: of input, places, sizes of the output, mode, padding mode and the third option.
            The second order is taken from it.
    """
    op = getattr(_ops, name).default
    backward_op = getattr(_ops, f"{name}_backward").default

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.options, ctx.count = inputs[-3:], len(inputs)

    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        input, places = ctx.saved_tensors
        of_input, of_places = ctx.needs_input_grad[:2]
        asked = of_input, of_places, torch.are_deterministic_algorithms_enabled()
        grad_input, grad_places = call_backward(grad_output, input, places, *ctx.options, *asked)
        if grad_input.dtype != input.dtype:
            grad_input = grad_input.to(input.dtype)
        grads = grad_input if of_input else None, grad_places if of_places else None
        return grads + (None,) * (ctx.count - 2)

    def setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options, ctx.asked = inputs[3:6], inputs[6:8]
        ctx.set_materialize_grads(False)

    def backward_backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        size = saved[0].shape[2:]
        mode, padding_mode, kind = ctx.options

        def defined(input: Tensor, places: Tensor) -> Tensor:
            words = MODES[mode], PADDING_MODES[padding_mode]
            return definition(input, places, size, *words, kind)

        def first_order(grad_output: Tensor, input: Tensor, places: Tensor) -> tuple[Tensor, ...]:
            return torch.func.vjp(defined, input, places)[1](grad_output)

        tensors = tuple(t.float() if t.dtype in HALVES else t for t in saved)
        cotangents = tuple(
            grad if grad is not None and asked else torch.zeros_like(tensor)
            for grad, asked, tensor in zip(grads, ctx.asked, tensors[1:], strict=True)
        )
        seconds = torch.func.vjp(first_order, *tensors)[1](cotangents)
        seconds = [second.to(t.dtype) for second, t in zip(seconds, saved, strict=True)]
        return (*seconds, *(None,) * 6)

    call_backward = differentiable(backward_op, setup_backward, backward_backward)
    register_fake(f"pyfast::{name}_backward")(_fake_backward)
    fold_vmap(op, shared=(0,))
    fold_vmap(backward_op, like=(1, 2))
    return differentiable(op, setup, backward, autocast=torch.float32)


grid_sample = _sampler(
    "grid_sample",
    lambda input, grid, size, *options: reference.grid_sample_reference(input, grid, *options),
)
flow_sample = _sampler(
    "flow_sample",
    lambda input, flow, size, *options: reference.warp_reference(input, flow, *options),
)


def _matrix_sample(
    input: Tensor, matrix: Tensor, size: Sequence[int], mode: str, padding: str, coordinates: int
) -> Tensor:
    is_affine = matrix.shape[1] < matrix.shape[2]
    options = mode, padding, coordinates % 2 == 1
    if coordinates < PIXELS:
        fused = (
            reference.affine_grid_sample_reference
            if is_affine
            else reference.homography_grid_sample_reference
        )
        return fused(input, matrix, size, *options)
    warp = reference.warp_affine_reference if is_affine else reference.warp_perspective_reference
    return warp(input, matrix, size, *options, inverse=True)


matrix_sample = _sampler("matrix_sample", _matrix_sample)

# --- inverses of maps -----------------------------------------------------------------------------


@torch.library.impl("pyfast::invert_maps", "CUDA")
def _(maps: Tensor, rounded: bool) -> Tensor:
    """Without a word about maps that have no inverse, for which the host would wait."""
    rows, columns = maps.shape[1:]
    last = torch.eye(columns, dtype=maps.dtype, device=maps.device)[rows:]
    square = torch.cat([maps, last.expand(len(maps), -1, -1)], 1)
    inverse = torch.linalg.inv_ex(square).inverse[:, :rows]
    return inverse.to(torch.float32 if rounded else torch.float64).contiguous()


@register_fake("pyfast::invert_maps")
def _(maps: Tensor, rounded: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.float32 if rounded else torch.float64)


def _setup_inverse(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _inverse_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    # d inv(A) = -inv(A) dA inv(A), and a last row that is left out stays 0 .. 0 1.
    inverse, grad = ctx.saved_tensors[0].double(), grad.double()
    rows = inverse.shape[1]
    shared = -(inverse[..., :rows].mT @ grad)
    return torch.cat([shared @ inverse.mT, shared[..., rows:]], -1), None


invert_maps = differentiable(_ops.invert_maps.default, _setup_inverse, _inverse_backward)
fold_vmap(_ops.invert_maps.default)
