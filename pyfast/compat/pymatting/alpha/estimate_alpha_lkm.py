"""Matting with large kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting.laplacian.lkm_laplacian import lkm_laplacian
from pyfast.compat.pymatting.solver.cg import cg
from pyfast.compat.pymatting.util.util import sanity_check_image, trimap_split

__all__ = ["estimate_alpha_lkm"]

_NONE: Mapping[str, Any] = {}
_CONFIDENCE = 100.0  # in the trimap


def estimate_alpha_lkm(
    image: NDArray[Any],
    trimap: NDArray[Any],
    laplacian_kwargs: Mapping[str, Any] = _NONE,
    cg_kwargs: Mapping[str, Any] = _NONE,
) -> NDArray[Any]:
    """The alpha matte by windows of any size, without a matrix.

    Args:
        image: (H, W, 3), floats in [0, 1].
        trimap: (H, W): 1 foreground, 0 background, else unknown.
        laplacian_kwargs: `epsilon` and `radius` of `lkm_laplacian`.
        cg_kwargs: what `cg` takes.

    Reference: He, Sun, Tang 2010, Fast Matting Using Large Kernel Matting Laplacian Matrices.
    """
    sanity_check_image(image)
    apply, diagonal = lkm_laplacian(image, **laplacian_kwargs)
    foreground, _, known, _ = trimap_split(trimap)
    confidence = _CONFIDENCE * known
    inverse = 1 / (diagonal + confidence)
    alpha = cg(
        lambda x: apply(x) + confidence * x,
        _CONFIDENCE * foreground,
        **{"M": lambda x: inverse * x, **cg_kwargs},
    )
    return np.clip(alpha, 0, 1).reshape(trimap.shape)
