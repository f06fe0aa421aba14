"""What is wrong with a call of sampling, in words.

To look for mistakes before the call would take longer than the kernel for a small image. So the
public functions make the call, the glue of the kernels refuses a wrong one, and only then somebody
asks here what the mistake was. Each check raises for the first thing that it finds, or returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pyfast.ops._checks import (
    LARGEST_SIDE,
    expect_choice,
    expect_flag,
    expect_floats,
    expect_size,
    expect_tensor,
    shape_error,
)
from pyfast.ops._sampling_operators import MODES, PADDING_MODES

_LARGEST_INPUT = 2**24  # pixels on a side: more of them a float32 position cannot tell apart
_SIDES = {2: "H, W", 3: "D, H, W"}


def check_affine_grid(theta: Any, size: Any, align_corners: Any) -> None:
    """The arguments of `affine_grid`."""
    op = "affine_grid"
    expect_tensor(op, "theta", theta)
    expect_floats(op, half=True, theta=theta)
    ranks = {(2, 3): (4,), (3, 4): (5,)}.get(tuple(theta.shape[1:]), (4, 5))
    dims = len(expect_size(op, size, ranks))
    if tuple(theta.shape) != (size[0], dims, dims + 1):
        raise shape_error(op, "theta", f"({size[0]}, {dims}, {dims + 1})", theta)
    if min(size[:2]) <= 0:
        raise ValueError(f"{op}: expected positive sizes, got {tuple(size)}")
    expect_flag(op, "align_corners", align_corners)


def check_grid_sample(input: Any, grid: Any, *options: Any) -> None:
    """The arguments of `grid_sample`."""
    op = "grid_sample"
    expect_tensor(op, "input", input)
    expect_tensor(op, "grid", grid)
    dims = grid.dim() - 2
    if dims not in (2, 3) or grid.shape[-1] != dims:
        wanted = "(N, H, W, 2)" if dims == 2 else "(N, D, H, W, 3)" if dims == 3 else _GRIDS
        raise shape_error(op, "grid", wanted, grid)
    _check_sampler(op, "input", input, "grid", grid, dims, options)
    if max(grid.shape[1:-1]) > LARGEST_SIDE:
        raise ValueError(f"{op}: expected a grid that memory can hold, got {tuple(grid.shape)}")


def check_warp(image: Any, flow: Any, *options: Any) -> None:
    """The arguments of `warp`."""
    op = "warp"
    expect_tensor(op, "image", image)
    expect_tensor(op, "flow", flow)
    dims = flow.dim() - 2
    if dims not in (2, 3) or flow.shape[1] != dims:
        wanted = "(N, 2, H, W)" if dims == 2 else "(N, 3, D, H, W)" if dims == 3 else _FLOWS
        raise shape_error(op, "flow", wanted, flow)
    _check_sampler(op, "image", image, "flow", flow, dims, options)
    if max(flow.shape[2:]) > LARGEST_SIDE:
        raise ValueError(f"{op}: expected a flow that memory can hold, got {tuple(flow.shape)}")


_GRIDS = "(N, H, W, 2) or (N, D, H, W, 3)"
_FLOWS = "(N, 2, H, W) or (N, 3, D, H, W)"


def check_fused(op: str, input: Any, name: str, matrix: Any, size: Any, *options: Any) -> None:
    """The arguments of `affine_grid_sample` and `homography_grid_sample`."""
    expect_tensor(op, "input", input)
    expect_tensor(op, name, matrix)
    dims = _check_matrix(op, name, matrix, input)
    _check_sampler(op, "input", input, name, matrix, dims, options)
    expect_size(op, size, ranks=(dims, dims + 2))
    if len(size) > 3 and tuple(size[:2]) != (matrix.shape[0], input.shape[1]):
        wanted = f"({_SIDES[dims]}) or ({matrix.shape[0]}, {input.shape[1]}, {_SIDES[dims]})"
        raise ValueError(f"{op}: expected size {wanted}, got {tuple(size)}")


def check_warp_by_matrix(
    op: str,
    image: Any,
    matrix: Any,
    size: Any,
    mode: Any,
    padding_mode: Any,
    align_corners: Any,
    inverse: Any,
) -> None:
    """The arguments of `warp_affine` and `warp_perspective`."""
    expect_tensor(op, "image", image)
    expect_tensor(op, "matrix", matrix)
    if not matrix.is_floating_point():
        raise TypeError(f"{op}: expected matrix of floats, got {matrix.dtype}")
    dims = _check_matrix(op, "matrix", matrix, image, or_one=True)
    options, is_one = (mode, padding_mode, align_corners), matrix.dim() == 2
    cast = matrix.to(image.dtype) if image.is_floating_point() else matrix
    _check_sampler(op, "image", image, "matrix", cast, dims, options, is_one=is_one)
    if size is not None:
        expect_size(op, size, ranks=(dims,))
    expect_flag(op, "inverse", inverse)


def _check_matrix(
    op: str, name: str, matrix: Tensor, input: Tensor, *, or_one: bool = False
) -> int:
    """Returns the dimensions of the space; `or_one`: a matrix without N will do."""
    forms = [(3, 3)] if op in _PROJECTIVE else [(2, 3), (3, 4)]
    fits = matrix.dim() == 3 or (or_one and matrix.dim() == 2)
    if not fits or tuple(matrix.shape[-2:]) not in forms:
        if len(forms) == 2 and input.dim() in (4, 5):
            forms = [forms[input.dim() - 4]]
        batches = ("N, ", "") if or_one else ("N, ",)
        wanted = [f"({n}{rows}, {columns})" for rows, columns in forms for n in batches]
        raise shape_error(op, name, " or ".join(wanted), matrix)
    return 2 if op in _PROJECTIVE else matrix.shape[-2]


_PROJECTIVE = ("homography_grid_sample", "warp_perspective")


def _check_sampler(
    op: str,
    image_name: str,
    image: Tensor,
    name: str,
    places: Tensor,
    dims: int,
    options: Sequence[Any],
    *,
    is_one: bool = False,
) -> None:
    """`is_one`: `places` is one matrix, without N, and serves a batch of any size."""
    expect_floats(op, half=True, **{image_name: image, name: places})
    sides = _SIDES[dims]
    batch = "N" if is_one else places.shape[0]
    if image.dim() != dims + 2 or not (is_one or image.shape[0] in (1, batch)):
        shared = f" or (1, C, {sides})" if batch not in (1, "N") else ""
        raise shape_error(op, image_name, f"({batch}, C, {sides}){shared}", image)
    if min(image.shape[2:]) <= 0 or max(image.shape[2:]) > _LARGEST_INPUT:
        wanted = f"(N, C, {sides}) with {sides.replace(', W', ' and W')} from 1 to 2**24"
        raise shape_error(op, image_name, wanted, image)
    mode, padding_mode, align_corners = options
    expect_choice(op, "mode", mode, MODES if dims == 2 else MODES[:2])
    expect_choice(op, "padding_mode", padding_mode, PADDING_MODES)
    expect_flag(op, "align_corners", align_corners)
