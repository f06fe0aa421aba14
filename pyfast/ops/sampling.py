"""Sampling images at computed places: the affine grid, `grid_sample`, and both in one.

Coordinates are those of torch: normalised to [-1, 1], x before y. With `align_corners` -1 and 1
are the centres of the outermost pixels, otherwise the outer edges of the image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._autograd import differentiable
from pyfast.ops._checks import (
    LARGEST_SIDE,
    expect_choice,
    expect_flag,
    expect_floats,
    expect_size,
    expect_tensor,
    shape_error,
)
from pyfast.ops._vmap import fold_vmap

MODES = ("bilinear", "nearest")
PADDING_MODES = ("zeros", "border", "reflection")
_LARGEST_INPUT = 2**24  # pixels on a side: more of them a float32 position cannot tell apart


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where an affine map sends the pixels of an output image: as `F.affine_grid`, in 2-D.

    Args:
        theta: maps from output to input coordinates, (N, 2, 3), float32 or float64.
        size: (N, C, H, W) of the output image; C is not used.
        align_corners: see the module. None: False.

    Returns:
        Normalised input coordinates, x before y, (N, H, W, 2).

    Raises:
        TypeError: `theta` is no tensor of floats, or `size` does not hold integers.
        ValueError: `theta` or `size` has the wrong shape, or a size is not positive.

    Reference: Jaderberg et al. 2015, Spatial Transformer Networks, equation 1.

    Example:
        >>> affine_grid(torch.eye(2, 3)[None], (1, 1, 2, 2))[0, :, :, 0]
        tensor([[-0.5000,  0.5000],
                [-0.5000,  0.5000]])
    """
    expect_tensor("affine_grid", "theta", theta)
    expect_floats("affine_grid", theta=theta)
    height, width = expect_size("affine_grid", size, ranks=(4,))
    if theta.dim() != 3 or theta.shape[0] != size[0] or theta.shape[1:] != (2, 3):
        raise shape_error("affine_grid", "theta", f"({size[0]}, 2, 3)", theta)
    if min(size[:2]) <= 0:
        raise ValueError(f"affine_grid: expected positive sizes, got {tuple(size)}")
    corners = expect_flag("affine_grid", "align_corners", align_corners)
    return _affine_grid(theta, height, width, corners)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Samples images where a grid says: as `F.grid_sample`, in 2-D.

    Args:
        input: images, (N, C, H_in, W_in), float32 or float64, any strides. Of batch 1, it serves
            every grid.
        grid: normalised coordinates, x before y, (N, H, W, 2).
        mode: "bilinear" or "nearest".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: see the module. None: False.

    Returns:
        (N, C, H, W), channels_last where `input` is. A coordinate of NaN gives NaN with "bilinear"
        and "zeros", else what lies at pixel 0, or outside for "nearest" and "zeros".

    Raises:
        TypeError: an argument is no dense tensor, or not float32 or float64 like the other, or of
            another type than above.
        ValueError: a shape, device or mode does not fit.

    On CUDA the gradient of `input` is summed by atomic additions, in no fixed order; under
    `torch.use_deterministic_algorithms(True)` it raises, as torch's own does.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> grid_sample(image, torch.zeros(1, 1, 1, 2))
        tensor([[[[2.5000]]]])
    """
    expect_tensor("grid_sample", "input", input)
    expect_tensor("grid_sample", "grid", grid)
    if grid.dim() != 4 or grid.shape[3] != 2:
        raise shape_error("grid_sample", "grid", "(N, H, W, 2)", grid)
    _check("grid_sample", input, "grid", grid)
    if max(grid.shape[1:3]) > LARGEST_SIDE:
        raise ValueError(f"grid_sample: expected a grid that memory can hold, got {grid.shape}")
    return _grid_sample(input, grid, *_options("grid_sample", mode, padding_mode, align_corners))


def affine_grid_sample(
    input: Tensor,
    theta: Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """Samples images under affine maps: `grid_sample(input, affine_grid(theta, size))` in one.

    No grid is stored, neither now nor for the gradient: `input` and `theta` are all that is kept.
    Coordinates are computed from the composed map, with one rounding for a pixel, and are more
    exact than those of a grid.

    Args:
        input: images, (N, C, H_in, W_in), float32 or float64, any strides. Of batch 1, it serves
            every theta.
        theta: maps from output to input coordinates, (N, 2, 3).
        size: (H, W) of the output, or (N, C, H, W) as for `affine_grid`.
        mode: "bilinear" or "nearest".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: see the module.

    Returns:
        (N, C, H, W), channels_last where `input` is.

    Raises:
        TypeError: an argument is no dense tensor, or not float32 or float64 like the other, or of
            another type than above.
        ValueError: a shape, size, device or mode does not fit.

    Both gradients are deterministic on CPU and CUDA.

    Reference: Jaderberg et al. 2015, Spatial Transformer Networks, equations 1 and 5.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
        >>> affine_grid_sample(image, mirror, (2, 2))
        tensor([[[[1., 0.],
                  [3., 2.]]]])
    """
    expect_tensor("affine_grid_sample", "input", input)
    expect_tensor("affine_grid_sample", "theta", theta)
    if theta.dim() != 3 or theta.shape[1:] != (2, 3):
        raise shape_error("affine_grid_sample", "theta", "(N, 2, 3)", theta)
    _check("affine_grid_sample", input, "theta", theta)
    height, width = expect_size("affine_grid_sample", size)
    if len(size) == 4 and (size[0] != theta.shape[0] or size[1] != input.shape[1]):
        raise ValueError(
            f"affine_grid_sample: expected size (H, W) or ({theta.shape[0]}, {input.shape[1]}, "
            f"H, W), got {tuple(size)}"
        )
    options = _options("affine_grid_sample", mode, padding_mode, align_corners)
    return _affine_grid_sample(input, theta, height, width, *options)


def _check(op: str, input: Tensor, other: str, places: Tensor) -> None:
    expect_floats(op, **{"input": input, other: places})
    batch = places.shape[0]
    if input.dim() != 4 or input.shape[0] not in (1, batch):
        raise shape_error(op, "input", f"({batch}, C, H, W) or (1, C, H, W)", input)
    if min(input.shape[2:]) <= 0 or max(input.shape[2:]) > _LARGEST_INPUT:
        raise shape_error(op, "input", "(N, C, H, W) with H and W from 1 to 2**24", input)


# --- definitions ----------------------------------------------------------------------------------


def affine_grid_reference(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The definition of `affine_grid`, in plain torch."""

    def base(length: int) -> Tensor:
        index = torch.arange(length, dtype=theta.dtype, device=theta.device)
        if not align_corners:
            return (2 * index + 1) / length - 1
        return 2 * index / (length - 1) - 1 if length > 1 else 0 * index

    y, x = torch.meshgrid(base(size[-2]), base(size[-1]), indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), dim=-1) @ theta[:, None].mT


def grid_sample_reference(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The definition of `grid_sample`, in plain torch."""
    height, width = input.shape[-2:]
    x = _padded_position(grid[..., 0], width, padding_mode, bool(align_corners))
    y = _padded_position(grid[..., 1], height, padding_mode, bool(align_corners))
    images = input.expand(grid.shape[0], -1, -1, -1).flatten(2)

    def pixel(column: Tensor, row: Tensor) -> Tensor:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = torch.where(inside, row * width + column, 0).long().flatten(1)
        values = images.gather(2, index[:, None].expand(-1, images.shape[1], -1))
        return torch.where(inside[:, None], values.unflatten(2, column.shape[1:]), 0)

    if mode == "nearest":
        return pixel(x.round(), y.round())
    left, top = x.detach().floor(), y.detach().floor()
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = pixel(left, top) * (1 - fx) + pixel(left + 1, top) * fx
    lower = pixel(left, top + 1) * (1 - fx) + pixel(left + 1, top + 1) * fx
    return upper * (1 - fy) + lower * fy


def _padded_position(x: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Normalised coordinate -> pixels, mirrored or clipped into the image."""
    x = (x + 1) / 2 * (size - 1) if align_corners else ((x + 1) * size - 1) / 2
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, size - 1) if align_corners else (-0.5, size)
        distance = (x - low).abs()
        turns = torch.div(distance, span, rounding_mode="floor") if span else 0 * distance
        rest = distance - turns * span
        x = torch.where(turns % 2 == 1, span - rest, rest) + low
    inside = (x > 0) & (x < size - 1)
    return torch.where(inside, x, torch.where(x > 0, size - 1.0, 0.0).to(x.dtype))


def affine_grid_sample_reference(
    input: Tensor,
    theta: Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """The definition of `affine_grid_sample`, in plain torch."""
    grid = affine_grid_reference(theta, size, align_corners)
    return grid_sample_reference(input, grid, mode, padding_mode, align_corners)


# --- what the dispatcher must know ----------------------------------------------------------------

_ops = torch.ops.pyfast


def _options(
    op: str, mode: str, padding_mode: str, align_corners: bool | None
) -> tuple[int, int, bool]:
    """Options as the operators take them; csrc/ops/sampling/sampling_torch.cpp says why."""
    expect_choice(op, "mode", mode, MODES)
    expect_choice(op, "padding_mode", padding_mode, PADDING_MODES)
    corners = expect_flag(op, "align_corners", align_corners)
    return MODES.index(mode), PADDING_MODES.index(padding_mode), corners


def _like_image(image: Tensor, shape: Sequence[Any]) -> Tensor:
    """An empty image in the memory format that the kernels choose: that of `image`."""
    last = (
        image.is_contiguous(memory_format=torch.channels_last)
        and not image.is_contiguous()
        and image.numel() != 0
    )
    format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=format)


@torch.library.register_fake("pyfast::affine_grid")
def _(theta: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    return theta.new_empty(theta.shape[0], height, width, 2)


@torch.library.register_fake("pyfast::affine_grid_backward")
def _(grad_grid: Tensor, align_corners: bool) -> Tensor:
    return grad_grid.new_empty(grad_grid.shape[0], 2, 3)


@torch.library.register_fake("pyfast::grid_sample")
def _(input: Tensor, grid: Tensor, mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    return _like_image(input, (grid.shape[0], input.shape[1], *grid.shape[1:3]))


@torch.library.register_fake("pyfast::affine_grid_sample")
def _(
    input: Tensor,
    theta: Tensor,
    height: int,
    width: int,
    mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    return _like_image(input, (theta.shape[0], input.shape[1], height, width))


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    places: Tensor,
    mode: int,
    padding_mode: int,
    align_corners: bool,
    of_input: bool,
    of_places: bool,
) -> tuple[Tensor, Tensor]:
    return (
        _like_image(input, input.shape) if of_input else input.new_empty(0),
        places.new_empty(places.shape) if of_places else places.new_empty(0),
    )


torch.library.register_fake("pyfast::grid_sample_backward", _fake_backward)
torch.library.register_fake("pyfast::affine_grid_sample_backward", _fake_backward)


def _setup_grid(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.align_corners = inputs[3]


def _grid_backward(ctx: Any, grad_grid: Tensor) -> tuple[Any, ...]:
    return _affine_grid_backward(grad_grid, ctx.align_corners), None, None, None


def _setup_grid_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size, ctx.align_corners = inputs[0].shape[1:3], inputs[1]


def _grid_backward_backward(ctx: Any, grad_theta: Tensor) -> tuple[Any, ...]:
    # The adjoint of a linear map's adjoint is the map.
    return _affine_grid(grad_theta, *ctx.size, ctx.align_corners), None


_affine_grid_backward = differentiable(
    _ops.affine_grid_backward.default, _setup_grid_backward, _grid_backward_backward
)
_affine_grid = differentiable(
    _ops.affine_grid.default, _setup_grid, _grid_backward, autocast=torch.float32
)


def _sampler(name: str, reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Gives operator `name`, of an input, its places and options, two orders of derivatives.

    Args:
        reference: the definition, called with input, places and the operator's options. The
            second order is taken from it.
    """
    op = getattr(_ops, name).default
    backward_op = getattr(_ops, f"{name}_backward").default

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.options, ctx.count = inputs[-3:], len(inputs)

    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        input, places = ctx.saved_tensors
        of_input, of_places = ctx.needs_input_grad[:2]
        if of_input and name == "grid_sample" and input.is_cuda:
            _alert_not_deterministic("pyfast::grid_sample_backward")
        grads = call_backward(grad_output, input, places, *ctx.options, of_input, of_places)
        asked = (grads[0] if of_input else None, grads[1] if of_places else None)
        return asked + (None,) * (ctx.count - 2)

    def setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options, ctx.asked = inputs[3:6], inputs[6:8]
        ctx.set_materialize_grads(False)

    def backward_backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        size = tensors[0].shape[-2:]

        def first_order(grad_output: Tensor, input: Tensor, places: Tensor) -> tuple[Tensor, ...]:
            def definition(input: Tensor, places: Tensor) -> Tensor:
                mode, padding_mode, align_corners = ctx.options
                words = MODES[mode], PADDING_MODES[padding_mode]
                return reference(input, places, size, *words, align_corners)

            return torch.func.vjp(definition, input, places)[1](grad_output)

        like = (tensors[1], tensors[2])
        cotangents = tuple(
            grad if grad is not None and asked else torch.zeros_like(tensor)
            for grad, asked, tensor in zip(grads, ctx.asked, like, strict=True)
        )
        seconds = torch.func.vjp(first_order, *tensors)[1](cotangents)
        return tuple(seconds) + (None,) * 5

    call_backward = differentiable(backward_op, setup_backward, backward_backward)
    fold_vmap(op, shared=(0,))
    fold_vmap(backward_op, like=(1, 2))
    return differentiable(op, setup, backward, autocast=torch.float32)


def _alert_not_deterministic(name: str) -> None:
    if torch.are_deterministic_algorithms_enabled():
        message = (
            f"{name} does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. affine_grid_sample has one."
        )
        if not torch.is_deterministic_algorithms_warn_only_enabled():
            raise RuntimeError(message)
        warnings.warn(message, stacklevel=2)


fold_vmap(_ops.affine_grid.default)
fold_vmap(_ops.affine_grid_backward.default)
_grid_sample = _sampler(
    "grid_sample",
    lambda input, grid, size, *options: grid_sample_reference(input, grid, *options),
)
_affine_grid_sample = _sampler("affine_grid_sample", affine_grid_sample_reference)
