"""What sampling means: each operator in plain torch, for images and volumes, in any precision.

Vectors are x before y before z, sizes are (D,) H, W.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

# --- places ---------------------------------------------------------------------------------------


def affine_grid_reference(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The definition of `affine_grid`, in plain torch."""
    dims = theta.shape[-2]
    return _mapped(theta, _base_grid(size[-dims:], theta, bool(align_corners)))


def homography_grid_reference(
    matrix: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The grid of a projective map: (N, 3, 3), (H, W) -> (N, H, W, 2)."""
    return _divided(_mapped(matrix, _base_grid(size[-2:], matrix, bool(align_corners))))


def _base_grid(size: Sequence[int], like: Tensor, align_corners: bool) -> Tensor:
    """Where the pixels of an image are in [-1, 1], with a last coordinate of 1."""

    def base(length: int) -> Tensor:
        index = torch.arange(length, dtype=like.dtype, device=like.device)
        if not align_corners:
            return (2 * index + 1) / length - 1
        return 2 * index / (length - 1) - 1 if length > 1 else 0 * index

    return _homogeneous([base(length) for length in size])


def _pixel_grid(size: Sequence[int], like: Tensor) -> Tensor:
    """The indices of the pixels of an image, with a last coordinate of 1."""
    return _homogeneous([torch.arange(n, dtype=like.dtype, device=like.device) for n in size])


def _homogeneous(axes: Sequence[Tensor]) -> Tensor:
    mesh = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((*reversed(mesh), torch.ones_like(mesh[0])), dim=-1)


def _mapped(matrix: Tensor, points: Tensor) -> Tensor:
    """(N, r, c), (*size, c) -> (N, *size, r)"""
    for _ in range(points.dim() - 2):
        matrix = matrix.unsqueeze(1)
    return points @ matrix.mT


def _divided(points: Tensor) -> Tensor:
    return points[..., :-1] / points[..., -1:]


# --- samples --------------------------------------------------------------------------------------


def grid_sample_reference(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The definition of `grid_sample`, in plain torch."""
    sizes = input.shape[:1:-1]
    positions = [
        (x + 1) / 2 * (size - 1) if align_corners else ((x + 1) * size - 1) / 2
        for x, size in zip(grid.unbind(-1), sizes, strict=True)
    ]
    return _sampled(input, positions, mode, padding_mode, bool(align_corners))


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


def homography_grid_sample_reference(
    input: Tensor,
    matrix: Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """The definition of `homography_grid_sample`, in plain torch."""
    grid = homography_grid_reference(matrix, size, align_corners)
    return grid_sample_reference(input, grid, mode, padding_mode, align_corners)


def warp_affine_reference(
    image: Tensor,
    matrix: Tensor,
    size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    inverse: bool = False,
) -> Tensor:
    """The definition of `warp_affine`, in plain torch."""
    dims = image.dim() - 2
    last_row = torch.eye(dims + 1, dtype=matrix.dtype, device=matrix.device)[-1:]
    square = torch.cat([matrix, last_row.expand(*matrix.shape[:-2], 1, -1)], dim=-2)
    options = (mode, padding_mode, align_corners)
    return warp_perspective_reference(image, square, size, *options, inverse=inverse)


def warp_perspective_reference(
    image: Tensor,
    matrix: Tensor,
    size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    inverse: bool = False,
) -> Tensor:
    """The definition of `warp_perspective`, in plain torch."""
    matrix = (matrix if inverse else torch.linalg.inv(matrix)).to(image.dtype)
    matrix = matrix if matrix.dim() == 3 else matrix.expand(image.shape[0], -1, -1)
    size = image.shape[2:] if size is None else size
    points = _divided(_mapped(matrix, _pixel_grid(size, image)))
    return _sampled(image, list(points.unbind(-1)), mode, padding_mode, bool(align_corners))


def warp_reference(
    image: Tensor,
    flow: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """The definition of `warp`, in plain torch."""
    pixels = _pixel_grid(flow.shape[2:], flow)[..., :-1]
    positions = (pixels + flow.movedim(1, -1)).unbind(-1)
    return _sampled(image, list(positions), mode, padding_mode, bool(align_corners))


def _sampled(
    input: Tensor, positions: list[Tensor], mode: str, padding_mode: str, align_corners: bool
) -> Tensor:
    """Reads (N or 1, C, *in_size) at positions in pixels, (N, *size) for each axis, x first."""
    sizes = input.shape[:1:-1]
    images = input.expand(positions[0].shape[0], *input.shape[1:]).flatten(2)

    def padded(axis: int, position: Tensor) -> Tensor:
        return _padded(position, sizes[axis], padding_mode, align_corners)

    def pixel(index: Sequence[Tensor]) -> Tensor:
        """The image at whole positions; 0 outside."""
        inside, flat = torch.ones_like(index[0], dtype=torch.bool), torch.zeros_like(index[0])
        for i, size in zip(reversed(index), reversed(sizes), strict=True):
            inside = inside & (i >= 0) & (i < size)
            flat = flat * size + i
        flat = torch.where(inside, flat, 0).long().flatten(1)
        values = images.gather(2, flat[:, None].expand(-1, images.shape[1], -1))
        return torch.where(inside[:, None], values.unflatten(2, index[0].shape[1:]), 0)

    if mode == "nearest":
        return pixel([padded(axis, x).round() for axis, x in enumerate(positions)])

    # On each axis the taps: whole positions and their weights.
    if mode == "bilinear":
        positions = [padded(axis, x) for axis, x in enumerate(positions)]
    lows = [x.detach().floor() for x in positions]
    fractions = [x - low for x, low in zip(positions, lows, strict=True)]
    if mode == "bilinear":
        taps = [[(low, 1 - f), (low + 1, f)] for low, f in zip(lows, fractions, strict=True)]
    else:
        taps = [
            [(padded(axis, low + k), _cubic(f - k)) for k in range(-1, 3)]
            for axis, (low, f) in enumerate(zip(lows, fractions, strict=True))
        ]
    total = torch.zeros((), dtype=input.dtype, device=input.device)
    for corner in itertools.product(*taps):
        value = pixel([index for index, _ in corner])
        total = total + math.prod([w[:, None] for _, w in corner], start=value)
    return total


def _cubic(distance: Tensor, a: float = -0.75) -> Tensor:
    """Keys' kernel of cubic convolution (Keys 1981, equation 4; there a = -1/2)."""
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, far)


def _padded(x: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    """A position in pixels, mirrored or clipped into the image."""
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
