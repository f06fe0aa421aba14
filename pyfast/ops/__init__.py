"""The operators. Each module holds one family: public functions, their definitions in plain torch
(`*_reference`) and what the dispatcher must know of them."""

from pyfast.ops.sampling import (
    affine_grid,
    affine_grid_sample,
    grid_sample,
    homography_grid_sample,
    warp,
    warp_affine,
    warp_perspective,
)
from pyfast.ops.thin_plate_spline import thin_plate_spline_grid

__all__ = [
    "affine_grid",
    "affine_grid_sample",
    "grid_sample",
    "homography_grid_sample",
    "thin_plate_spline_grid",
    "warp",
    "warp_affine",
    "warp_perspective",
]
