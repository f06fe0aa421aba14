"""The operators. Each module holds one family: public functions, their definitions in plain torch
(`*_reference`) and what the dispatcher must know of them."""

from pyfast.ops.sampling import affine_grid, affine_grid_sample, grid_sample

__all__ = ["affine_grid", "affine_grid_sample", "grid_sample"]
