"""What torch must know of the operators of the dense CRF: shapes, gradients, vmap.

Here are `gaussian_filter` and `gaussian_exact` as callables with every argument by position;
csrc/ops/dense_crf/dense_crf_torch.cpp has the schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops import _dense_crf_gradient  # noqa: F401  (registers another)
from pyfast.ops._autograd import differentiable
from pyfast.ops._fake import register_fake
from pyfast.ops._vmap import fold_vmap

# Options as the operators take them: the places of their words.
NORMALIZATIONS = ("none", "before", "after", "symmetric")
METHODS = ("lattice", "closed", "exact")

_ops = torch.ops.pyfast

_NO_SECOND = (
    "{} has no derivative of its own: GaussianFilter, mean_field, dense_crf and crf_free_energy "
    "have first derivatives, and second ones in what is filtered alone"
)


_UNREAD = -1  # to the operators: read from the lattice when the call runs


class Lattice(NamedTuple):
    """A lattice, and what an operator has to know of it without reading its memory; a traced call
    does not know all of it."""

    words: Tensor
    dims: int
    vertices: int
    used: int
    slabs: int


def build_lattice(features: Tensor, closed: bool) -> Lattice:
    """The lattice of points (B, d, N). Reads its size from its device, once."""
    words = _ops.gaussian_lattice(features.detach(), closed)
    if torch.compiler.is_compiling():
        return Lattice(words, features.shape[1], _UNREAD, _UNREAD, _UNREAD)
    dims, _, _, vertices, used, slabs = words[:6].tolist()
    return Lattice(words, dims, vertices, used, slabs)


dense_crf = _ops.dense_crf.default

# --- shapes ---------------------------------------------------------------------------------------


@register_fake("pyfast::gaussian_lattice")
def _(features: Tensor, closed: bool) -> Tensor:
    words = torch.library.get_ctx().new_dynamic_size()
    return features.new_empty(words, dtype=torch.int32)


@register_fake("pyfast::gaussian_filter")
def _(values: Tensor, features: Tensor, lattice: Tensor, *options: Any) -> Tensor:
    torch._check(values.dim() == 3 and values.dtype == features.dtype)
    return values.new_empty(values.shape)


@register_fake("pyfast::gaussian_filter_backward")
def _(grad: Tensor, values: Tensor, features: Tensor, lattice: Tensor, *options: Any) -> Tensor:
    return features.new_empty(features.shape)


@register_fake("pyfast::gaussian_exact")
def _(values: Tensor, features: Tensor, cutoff: float) -> Tensor:
    torch._check(values.dim() == 3 and values.dtype == features.dtype)
    return values.new_empty(values.shape)


@register_fake("pyfast::gaussian_exact_backward")
def _(grad: Tensor, values: Tensor, features: Tensor, cutoff: float) -> Tensor:
    return features.new_empty(features.shape)


@register_fake("pyfast::dense_crf")
def _(unary: Tensor, image: Tensor, *options: Any) -> Tensor:
    torch._check(unary.dim() == 4 and unary.dtype == image.dtype)
    return unary.new_empty(unary.shape)


@register_fake("pyfast::dense_crf_steps")
def _(
    unary: Tensor,
    image: Tensor,
    sigmas: Tensor,
    weights: Tensor,
    compatibility: Tensor,
    lattice: Tensor,
    iterations: int,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    torch._check(unary.dim() == 4 and unary.dtype == image.dtype)
    return unary.new_empty(unary.shape), unary.new_empty(iterations, *unary.shape)


@register_fake("pyfast::dense_crf_steps_backward")
def _(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in args[:5])


@register_fake("pyfast::gaussian_grid")
def _(values: Tensor, sigma: Tensor, normalization: int) -> Tensor:
    return values.new_empty(values.shape)


# --- gradients ------------------------------------------------------------------------------------


def _without_derivative(op: torch._ops.OpOverload) -> Any:
    """`op` as a callable that raises by name where a derivative of it is asked for."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(_NO_SECOND.format(op._schema.name))

    return differentiable(op, setup, backward)


_filter_backward = _without_derivative(_ops.gaussian_filter_backward.default)
_exact_backward = _without_derivative(_ops.gaussian_exact_backward.default)


def _setup_filter(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.sizes, ctx.transposed = inputs[3:7], inputs[7]


def _backward_of_filter(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    values, features, words = ctx.saved_tensors
    of_values, of_features = ctx.needs_input_grad[:2]
    grad_values = grad_features = None
    if of_values:
        grad_values = gaussian_filter(grad, features, words, *ctx.sizes, not ctx.transposed)
    if of_features:
        # <grad, K' values> = <values, K grad>
        sides = (values, grad) if ctx.transposed else (grad, values)
        grad_features = _filter_backward(*sides, features, words, *ctx.sizes)
    return grad_values, grad_features, *(None,) * 6


gaussian_filter = differentiable(_ops.gaussian_filter.default, _setup_filter, _backward_of_filter)


def _setup_exact(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.cutoff = inputs[2]


def _backward_of_exact(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    values, features = ctx.saved_tensors
    of_values, of_features = ctx.needs_input_grad[:2]
    return (
        gaussian_exact(grad, features, ctx.cutoff) if of_values else None,
        _exact_backward(grad, values, features, ctx.cutoff) if of_features else None,
        None,
    )


gaussian_exact = differentiable(_ops.gaussian_exact.default, _setup_exact, _backward_of_exact)


_steps_backward = _without_derivative(_ops.dense_crf_steps_backward.default)


def _setup_steps(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6], *output)
    ctx.normalization, ctx.method = inputs[7:9]
    ctx.set_materialize_grads(False)


def _backward_of_steps(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 9
    _, of_image, of_sigmas, *of_weights = ctx.needs_input_grad[:5]
    wanted = of_image or of_sigmas, of_sigmas, any(of_weights)
    grads = _steps_backward(grad, *ctx.saved_tensors, ctx.normalization, ctx.method, *wanted)
    needed = zip(grads, ctx.needs_input_grad, strict=False)
    return *(g if is_needed else None for g, is_needed in needed), *(None,) * 4


dense_crf_steps = differentiable(_ops.dense_crf_steps.default, _setup_steps, _backward_of_steps)


# --- vmap -----------------------------------------------------------------------------------------


def _lead(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension first."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _fold_batch(op: Any, count: int) -> Any:
    """vmap for operators whose first `count` arguments are (B, ., N): into the batch."""

    def rule(info: Any, in_dims: Sequence[int | None], *args: Any) -> Any:
        size = info.batch_size
        folded = [
            _lead(t, d, size).flatten(0, 1)
            for t, d in zip(args[:count], in_dims[:count], strict=True)
        ]
        return op(*folded, *args[count:]).unflatten(0, (size, -1)), 0

    return rule


@torch.library.register_vmap("pyfast::gaussian_lattice")
def _(info: Any, in_dims: Sequence[int | None], features: Tensor, closed: bool) -> Any:
    return _ops.gaussian_lattice(
        _lead(features, in_dims[0], info.batch_size).flatten(0, 1), closed
    ), None


@torch.library.register_vmap("pyfast::gaussian_filter")
def _(info: Any, in_dims: Sequence[int | None], *args: Any) -> Any:
    # Mapped features have a lattice of all their images; others serve more channels.
    if in_dims[1] is not None:
        return _fold_batch(_ops.gaussian_filter, 2)(info, in_dims, *args)
    values = args[0].movedim(in_dims[0], 1)
    filtered = _ops.gaussian_filter(values.flatten(1, 2), *args[1:])
    return filtered.unflatten(1, values.shape[1:3]), 1


@torch.library.register_vmap("pyfast::gaussian_filter_backward")
def _(info: Any, in_dims: Sequence[int | None], *args: Any) -> Any:
    if in_dims[2] is not None:
        return _fold_batch(_ops.gaussian_filter_backward, 3)(info, in_dims, *args)
    parts = [
        _ops.gaussian_filter_backward(grad, values, *args[2:])
        for grad, values in zip(
            *(_lead(t, d, info.batch_size) for t, d in zip(args[:2], in_dims[:2], strict=True)),
            strict=True,
        )
    ]
    return torch.stack(parts), 0


def _images(tensor: Tensor, dim: int | None, size: int, batch: int) -> Tensor:
    """(size * batch, ...) of what has a batch of its own, or of 1."""
    tensor = _lead(tensor, dim, size)
    return tensor.expand(size, batch, *tensor.shape[2:]).flatten(0, 1)


def _batch_of(tensor: Tensor, dim: int | None) -> int:
    return tensor.shape[0] if dim is None else tensor.movedim(dim, 0).shape[1]


@torch.library.register_vmap("pyfast::dense_crf_steps")
def _(info: Any, in_dims: Sequence[int | None], *args: Any) -> Any:
    size, batch = info.batch_size, _batch_of(args[0], in_dims[0])
    parts = [_images(t, d, size, batch) for t, d in zip(args[:5], in_dims[:5], strict=True)]
    marginals, history = _ops.dense_crf_steps(*parts, args[5][:0], *args[6:])
    return (marginals.unflatten(0, (size, batch)), history.unflatten(1, (size, batch))), (0, 1)


@torch.library.register_vmap("pyfast::dense_crf_steps_backward")
def _(info: Any, in_dims: Sequence[int | None], *args: Any) -> Any:
    size, batch = info.batch_size, _batch_of(args[1], in_dims[1])
    parts = [_images(t, d, size, batch) for t, d in zip(args[:6], in_dims[:6], strict=True)]
    marginals = _images(args[7], in_dims[7], size, batch)
    history = _lead(args[8], in_dims[8], size).movedim(0, 1).flatten(1, 2)
    grads = _ops.dense_crf_steps_backward(*parts, args[6][:0], marginals, history, *args[9:])
    results = []
    for grad, given, dim in zip(grads, args[1:6], in_dims[1:6], strict=True):
        grad = grad.unflatten(0, (size, batch))
        results.append(grad if _batch_of(given, dim) == batch else grad.sum(1, keepdim=True))
    return tuple(results), (0,) * 5


fold_vmap(_ops.dense_crf.default, shared=(2, 3, 4))
torch.library.register_vmap("pyfast::gaussian_exact", _fold_batch(_ops.gaussian_exact, 2))
torch.library.register_vmap(
    "pyfast::gaussian_exact_backward", _fold_batch(_ops.gaussian_exact_backward, 3)
)
