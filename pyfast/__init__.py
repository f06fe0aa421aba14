"""Fast vision operators for PyTorch in C++ and CUDA."""

__version__ = "0.1.0"

__all__ = [
    "GaussianFilter",
    "MattingLaplacian",
    "Routes",
    "affine_grid",
    "affine_grid_sample",
    "aspp_concat",
    "aspp_sum",
    "autotune",
    "bilateral_features",
    "clear_scratch",
    "compat",
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
    "nn",
    "ops",
    "photorealistic_smooth",
    "spatial_features",
    "thin_plate_spline_grid",
    "trimap_from_mask",
    "trimap_from_scribbles",
    "warp",
    "warp_affine",
    "warp_perspective",
]

try:
    from pyfast import compat, nn, ops
    from pyfast._native import _C as _C  # for `from pyfast import _C`, by type checkers too
    from pyfast._scratch import clear_scratch
    from pyfast.ops import (
        GaussianFilter,
        MattingLaplacian,
        affine_grid,
        affine_grid_sample,
        aspp_concat,
        aspp_sum,
        bilateral_features,
        composite,
        context_module,
        crf_free_energy,
        cutout,
        dense_crf,
        dilated_conv1d,
        dilated_conv2d,
        estimate_alpha,
        estimate_foreground,
        grid_sample,
        guided_filter,
        homography_grid_sample,
        local_affine_smooth,
        matting_energy,
        matting_laplacian,
        mean_field,
        photorealistic_smooth,
        spatial_features,
        thin_plate_spline_grid,
        trimap_from_mask,
        trimap_from_scribbles,
        warp,
        warp_affine,
        warp_perspective,
    )
    from pyfast.tuning import Routes, autotune
except ImportError as _error:
    # The package itself still imports, so that `python -m pyfast.env` can show what is wrong.
    # Whoever asks for an operator gets the reason and what to do about it.
    _load_error = _error

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(str(_load_error)) from _load_error
        raise AttributeError(f"module 'pyfast' has no attribute '{name}'")
