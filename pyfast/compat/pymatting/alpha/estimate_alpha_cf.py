"""Closed-form matting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting.laplacian.cf_laplacian import cf_laplacian
from pyfast.compat.pymatting.preconditioner.ichol import ichol
from pyfast.compat.pymatting.solver.cg import cg
from pyfast.compat.pymatting.util.util import sanity_check_image, trimap_split

__all__ = ["estimate_alpha_cf"]

_NONE: Mapping[str, Any] = {}


def estimate_alpha_cf(
    image: NDArray[Any],
    trimap: NDArray[Any],
    preconditioner: Callable[..., Any] | None = None,
    laplacian_kwargs: Mapping[str, Any] = _NONE,
    cg_kwargs: Mapping[str, Any] = _NONE,
) -> NDArray[Any]:
    """The alpha matte of `image`, (H, W, 3), by a trimap (H, W), both in [0, 1].

    Args:
        image: floats in [0, 1].
        trimap: 1 foreground, 0 background, else unknown.
        preconditioner: makes one from the matrix of the unknown pixels.
        laplacian_kwargs: `epsilon` and `radius` of `cf_laplacian`.
        cg_kwargs: `rtol`, `maxiter`, `x0` and what else `cg` takes.
    """
    sanity_check_image(image)
    foreground, _, known_pixels, unknown = trimap_split(trimap)
    alpha = np.array(trimap, dtype=np.float64).ravel()
    if unknown.any():
        rows = cf_laplacian(image, **laplacian_kwargs, is_known=known_pixels)[unknown, :]
        matrix = rows[:, unknown].tocsr()
        make = ichol if preconditioner is None else preconditioner
        right = -rows[:, known_pixels].dot(foreground[known_pixels].astype(np.float64))
        alpha[unknown] = cg(matrix, right, **{"M": make(matrix), **cg_kwargs})
    return np.clip(alpha, 0, 1).reshape(trimap.shape)
