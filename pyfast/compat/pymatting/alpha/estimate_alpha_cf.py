"""Closed-form matting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting._arguments import as_image, as_trimap, taken
from pyfast.compat.pymatting.laplacian.cf_laplacian import cf_laplacian
from pyfast.compat.pymatting.preconditioner.jacobi import jacobi
from pyfast.compat.pymatting.solver.cg import cg
from pyfast.compat.pymatting.util.util import sanity_check_image, trimap_split
from pyfast.ops.matting import estimate_alpha

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

    Without a `preconditioner`, and without a `callback` or `M` in `cg_kwargs`, this is
    `pyfast.estimate_alpha`. With one the matrix is made, and solved with `cg`.

    Args:
        image: floats in [0, 1].
        trimap: 1 foreground, 0 background, else unknown.
        preconditioner: makes one from the matrix of the unknown pixels.
        laplacian_kwargs: `epsilon` and `radius` of `cf_laplacian`.
        cg_kwargs: `rtol`, `maxiter`, `x0` and what else `cg` takes.
    """
    sanity_check_image(image)
    own_solver = preconditioner is not None or any(
        cg_kwargs.get(name) is not None for name in ("callback", "M", "atol")
    )
    if not own_solver:
        taken("estimate_alpha_cf", "laplacian_kwargs", laplacian_kwargs, ("epsilon", "radius"))
        known = ("rtol", "maxiter", "x0", "atol", "reorthogonalize", "callback", "M")
        taken("estimate_alpha_cf", "cg_kwargs", cg_kwargs, known)
        options = {name: cg_kwargs[name] for name in ("rtol", "maxiter") if name in cg_kwargs}
        alpha = estimate_alpha(as_image(image), as_trimap(trimap), **laplacian_kwargs, **options)
        return np.clip(alpha, 0, 1).reshape(trimap.shape)

    foreground, _, known_pixels, unknown = trimap_split(trimap)
    alpha = np.array(trimap, dtype=np.float64).ravel()
    if unknown.any():
        rows = cf_laplacian(image, **laplacian_kwargs, is_known=known_pixels)[unknown, :]
        matrix = rows[:, unknown].tocsr()
        make = jacobi if preconditioner is None else preconditioner
        right = -rows[:, known_pixels].dot(foreground[known_pixels].astype(np.float64))
        alpha[unknown] = cg(matrix, right, **{"M": make(matrix), **cg_kwargs})
    return np.clip(alpha, 0, 1).reshape(trimap.shape)
