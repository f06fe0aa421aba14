"""Families of transforms that a spatial transformer predicts, and how each samples.

A family maps an offset (N, parameters) to theta, what its sampler takes; the offset 0 is the
identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast.ops import affine_grid_sample, grid_sample, homography_grid_sample
from pyfast.ops._sampling_reference import homography_grid_reference
from pyfast.ops.thin_plate_spline import thin_plate_spline_grid

Size = tuple[int, ...]


class Transform(NamedTuple):
    """One family."""

    parameters: int
    theta: Callable[[Tensor], Tensor]
    grid: Callable[[Tensor, Size, bool], Tensor]
    """theta, (H, W), align_corners to a grid, in plain torch; of float32 for halves."""
    sample: Callable[[Tensor, Tensor, Size, str, str, bool], Tensor]
    """input, theta, (H, W), mode, padding_mode, align_corners to the output."""


def _affine(offset: Tensor) -> Tensor:
    identity = torch.eye(2, 3, dtype=offset.dtype, device=offset.device)
    return identity + offset.view(-1, 2, 3)


def _attention(offset: Tensor) -> Tensor:
    scale, shift_x, shift_y = (1 + offset[:, 0]), offset[:, 1], offset[:, 2]
    zero = torch.zeros_like(scale)
    return torch.stack([scale, zero, shift_x, zero, scale, shift_y], dim=1).view(-1, 2, 3)


def _translation(scale: float) -> Transform:
    def theta(offset: Tensor) -> Tensor:
        fixed = torch.eye(2, dtype=offset.dtype, device=offset.device) * scale
        return torch.cat([fixed.expand(offset.shape[0], 2, 2), offset[:, :, None]], dim=2)

    return Transform(2, theta, _affine_grid, affine_grid_sample)


def _similarity(offset: Tensor) -> Tensor:
    log_scale, angle, shift_x, shift_y = offset.unbind(1)
    cos, sin = log_scale.exp() * angle.cos(), log_scale.exp() * angle.sin()
    return torch.stack([cos, -sin, shift_x, sin, cos, shift_y], dim=1).view(-1, 2, 3)


def _projective(offset: Tensor) -> Tensor:
    identity = torch.eye(3, dtype=offset.dtype, device=offset.device)
    return identity + F.pad(offset, (0, 1)).view(-1, 3, 3)


def control_points(side: int, like: Tensor | None = None) -> Tensor:
    """side x side points over [-1, 1], x fastest, (side * side, 2)."""
    dtype, device = (None, None) if like is None else (like.dtype, like.device)
    line = torch.linspace(-1, 1, side, dtype=dtype, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


def _affine_grid(theta: Tensor, size: Size, align_corners: bool) -> Tensor:
    return F.affine_grid(_wide(theta), [theta.shape[0], 1, *size], align_corners)


def _homography_grid(theta: Tensor, size: Size, align_corners: bool) -> Tensor:
    return homography_grid_reference(_wide(theta), size, align_corners)


def _wide(theta: Tensor) -> Tensor:
    """Half coordinates of a large image would be pixels apart."""
    return theta.to(torch.promote_types(theta.dtype, torch.float32))


def _thin_plate_spline(side: int) -> Transform:
    def theta(offset: Tensor) -> Tensor:
        return control_points(side, offset) + offset.view(-1, side * side, 2)

    def grid(theta: Tensor, size: Size, align_corners: bool) -> Tensor:
        return thin_plate_spline_grid(control_points(side, theta), theta, size, align_corners)

    def sample(
        input: Tensor, theta: Tensor, size: Size, mode: str, padding_mode: str, corners: bool
    ) -> Tensor:
        return grid_sample(input, grid(theta, size, corners), mode, padding_mode, corners)

    return Transform(2 * side * side, theta, grid, sample)


_FAMILIES = {
    "affine": Transform(6, _affine, _affine_grid, affine_grid_sample),
    "attention": Transform(3, _attention, _affine_grid, affine_grid_sample),
    "similarity": Transform(4, _similarity, _affine_grid, affine_grid_sample),
    "projective": Transform(8, _projective, _homography_grid, homography_grid_sample),
}
TRANSFORMS = (*_FAMILIES, "translation", "tps")


def transform_of(name: str, side: int, scale: float) -> Transform:
    """The family called `name`, out of `TRANSFORMS`.

    Splines have side x side control points, translations a fixed scale.
    """
    if name == "translation":
        return _translation(scale)
    return _thin_plate_spline(side) if name == "tps" else _FAMILIES[name]
