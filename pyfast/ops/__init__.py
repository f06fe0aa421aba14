"""The operators. Each module holds one family: public functions, their definitions in plain torch
(`*_reference`) and what the dispatcher must know of them."""

from pyfast.ops.alpha import estimate_alpha
from pyfast.ops.aspp import aspp_concat, aspp_sum
from pyfast.ops.compositing import composite, cutout
from pyfast.ops.context_module import context_module
from pyfast.ops.dense_crf import dense_crf
from pyfast.ops.dilated_conv import dilated_conv1d, dilated_conv2d
from pyfast.ops.foreground import estimate_foreground
from pyfast.ops.gaussian_filter import GaussianFilter, bilateral_features, spatial_features
from pyfast.ops.guided_filter import guided_filter
from pyfast.ops.matting import MattingLaplacian, matting_energy, matting_laplacian
from pyfast.ops.mean_field import crf_free_energy, mean_field
from pyfast.ops.photorealism import local_affine_smooth, photorealistic_smooth
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
from pyfast.ops.trimaps import trimap_from_mask, trimap_from_scribbles

__all__ = [
    "GaussianFilter",
    "MattingLaplacian",
    "affine_grid",
    "affine_grid_sample",
    "aspp_concat",
    "aspp_sum",
    "bilateral_features",
    "composite",
    "context_module",
    "crf_free_energy",
    "cutout",
    "dense_crf",
    "dilated_conv1d",
    "dilated_conv2d",
    "estimate_alpha",
    "estimate_foreground",
    "grid_sample",
    "guided_filter",
    "homography_grid_sample",
    "local_affine_smooth",
    "matting_energy",
    "matting_laplacian",
    "mean_field",
    "photorealistic_smooth",
    "spatial_features",
    "thin_plate_spline_grid",
    "trimap_from_mask",
    "trimap_from_scribbles",
    "warp",
    "warp_affine",
    "warp_perspective",
]
