"""Thin-plate splines: the smoothest map of the plane that sends given points to given points.

The spline is a product of a matrix, which depends on the source points and the size alone, and the
target points. So the system is solved once for fixed sources, and the rest is torch's product.

Reference: Bookstein 1989, Principal Warps: Thin-Plate Splines and the Decomposition of
Deformations, IEEE TPAMI 11 (6).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyfast.ops._autograd import is_readable, without_autocast
from pyfast.ops._checks import (
    LinAlgError,
    expect_flag,
    expect_floats,
    expect_size,
    expect_tensor,
    is_singular,
    shape_error,
)


def thin_plate_spline_grid(
    source: Tensor, target: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The grid of the thin-plate spline that sends `source` to `target`.

    `grid_sample(input, grid)` then shows at each source point of the output what lies at its target
    point of the input; a pixel whose centre is a source point is exactly there.
    `nn.ThinPlateSplineGrid` keeps what depends on `source` and `size` alone between calls.

    Args:
        source: control points of the output, (K, 2) or (N, K, 2), normalised, x before y; at least
            three, all different, not all on one line.
        target: where they are in the input, (N, K, 2).
        size: (H, W) of the output, or (N, C, H, W) as for `affine_grid`.
        align_corners: as for `affine_grid`. None: False.

    Returns:
        (N, H, W, 2), normalised input coordinates, float64 where an argument is, else float32.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a shape, size or device does not fit.
        torch.linalg.LinAlgError: there is no such spline: source points coincide or lie on one
            line. On CUDA, where to ask would make the host wait, the grid is NaN.

    Differentiable in both; the system is solved in float64.

    Reference: Bookstein 1989, equations 1 to 3 and the system before "the thin-plate spline".

    Example:
        >>> corners = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
        >>> thin_plate_spline_grid(corners, corners[None] / 2, (1, 2))
        tensor([[[[-0.2500,  0.0000],
                  [ 0.2500,  0.0000]]]])
    """
    op = "thin_plate_spline_grid"
    expect_tensor(op, "source", source)
    expect_tensor(op, "target", target)
    expect_floats(op, half=True, target=target, source=source)
    if target.dim() != 3 or target.shape[1] < 3 or target.shape[2] != 2:
        raise shape_error(op, "target", "(N, K, 2) with K from 3", target)
    if source.shape not in (target.shape, target.shape[1:]):
        batch, count, _ = target.shape
        raise shape_error(op, "source", f"({count}, 2) or ({batch}, {count}, 2)", source)
    sides = expect_size(op, size)
    if len(size) > 2 and size[0] != target.shape[0]:
        wanted = f"(H, W) or ({target.shape[0]}, C, H, W)"
        raise ValueError(f"{op}: expected size {wanted}, got {tuple(size)}")
    corners = expect_flag(op, "align_corners", align_corners)
    return spline_grid(thin_plate_spline_basis(op, source, sides, corners), target, sides)


def thin_plate_spline_basis(
    op: str, source: Tensor, size: Sequence[int], align_corners: bool
) -> Tensor:
    """What the spline is linear in: (…, K, 2), (H, W) -> (…, H * W, K), float64.

    The spline at pixel p is the sum over k of basis[p, k] * target[k].
    """
    points = source.double()
    # The spline is the same in every unit of length; rounding, and how it shows, is not.
    unit = points.detach().abs().amax((-2, -1), keepdim=True).clamp_min(1e-300)
    points = points / unit
    count = points.shape[-2]
    # Bookstein's matrix L: U of the distances, bordered by 1, x, y.
    border = torch.cat([torch.ones_like(points[..., :1]), points], dim=-1)
    upper = torch.cat([_bending(_squared_distances(points, points)), border], dim=-1)
    lower = torch.cat([border.mT, border.new_zeros(*points.shape[:-2], 3, 3)], dim=-1)
    system = torch.cat([upper, lower], dim=-2)
    inverse = _inverse(op, system)
    # Its columns beyond K multiply the zeros below the targets.
    weights, affine = inverse[..., :count].split((count, 3), dim=-2)

    y, x = (_base(length, points, align_corners) for length in size)
    pixels = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1).flatten(
        0, 1
    )
    pixels = pixels / unit
    bent = _bending(_squared_distances(pixels, points)) @ weights
    return bent + pixels @ affine[..., 1:, :] + affine[..., :1, :]


def _inverse(op: str, system: Tensor) -> Tensor:
    """Raises where it is rounding alone that keeps the system from being singular."""
    wrong = f"{op}: expected source points that differ and are not all on one line"
    try:
        inverse = torch.linalg.inv_ex(system, check_errors=system.device.type == "cpu").inverse
    except LinAlgError:
        raise LinAlgError(wrong) from None
    if is_readable(system):
        sizes = [of.detach().abs().amax((-2, -1)) for of in (system, inverse)]
        if is_singular(*sizes).any():
            raise LinAlgError(wrong)
    return inverse


def spline_grid(basis: Tensor, target: Tensor, size: Sequence[int]) -> Tensor:
    """(H * W, K) or (N, H * W, K), (N, K, 2) -> (N, H, W, 2)"""
    real = torch.promote_types(target.dtype, torch.float32)
    with without_autocast(target.device.type):
        grid = basis.to(real) @ target.to(real)
    return grid.unflatten(1, tuple(size))


def _bending(squared: Tensor) -> Tensor:
    """U(r) = r² log r², and 0 at 0, where its slope is 0 too."""
    return squared * squared.clamp_min(torch.finfo(squared.dtype).tiny).log()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(…, P, 2), (…, K, 2) -> (…, P, K)"""
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1)


def _base(length: int, like: Tensor, align_corners: bool) -> Tensor:
    index = torch.arange(length, dtype=like.dtype, device=like.device)
    if not align_corners:
        return (2 * index + 1) / length - 1
    return 2 * index / (length - 1) - 1 if length > 1 else 0 * index
