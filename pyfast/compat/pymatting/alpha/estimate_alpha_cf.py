"""Closed-form matting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting._arguments import as_planes, taken
from pyfast.compat.pymatting.laplacian.cf_laplacian import cf_laplacian
from pyfast.compat.pymatting.preconditioner.ichol import ichol
from pyfast.compat.pymatting.solver.cg import cg
from pyfast.compat.pymatting.util.util import sanity_check_image, trimap_split
from pyfast.ops.alpha import estimate_alpha

__all__ = ["estimate_alpha_cf"]

_NONE: Mapping[str, Any] = {}
_OURS = ("rtol", "maxiter", "x0")
_ITS_OWN = ("callback", "M", "atol")


def estimate_alpha_cf(
    image: NDArray[Any],
    trimap: NDArray[Any],
    preconditioner: Callable[..., Any] | None = None,
    laplacian_kwargs: Mapping[str, Any] = _NONE,
    cg_kwargs: Mapping[str, Any] = _NONE,
) -> NDArray[Any]:
    """The alpha matte of `image`, (H, W, 3), by a trimap (H, W), both in [0, 1].

    This is `pyfast.estimate_alpha`. With a `preconditioner`, or with `callback`, `M` or `atol` in
    `cg_kwargs`, the matrix is made and solved with `cg`.

    Args:
        image: floats in [0, 1].
        trimap: 1 foreground, 0 background, else unknown.
        preconditioner: makes one from the matrix of the unknown pixels.
        laplacian_kwargs: `epsilon` and `radius` of `cf_laplacian`.
        cg_kwargs: `rtol`, `maxiter`, `x0` and what else `cg` takes.
    """
    sanity_check_image(image)
    foreground, _, known_pixels, unknown = trimap_split(trimap)
    taken("estimate_alpha_cf", "laplacian_kwargs", laplacian_kwargs, ("epsilon", "radius"))
    taken("estimate_alpha_cf", "cg_kwargs", cg_kwargs, (*_OURS, *_ITS_OWN, "reorthogonalize"))
    if preconditioner is None and not any(cg_kwargs.get(name) for name in _ITS_OWN):
        options = {name: cg_kwargs[name] for name in _OURS if cg_kwargs.get(name) is not None}
        marks = np.where(known_pixels, foreground, 0.5)
        if "x0" in options:  # of the unknown pixels alone
            start = marks.copy()
            start[unknown] = options["x0"]
            options["x0"] = start.reshape(image.shape[:2])
        plane = marks.reshape(image.shape[:2])
        found = estimate_alpha(as_planes(image), plane, **laplacian_kwargs, **options)
        return np.asarray(found).reshape(trimap.shape)
    alpha = np.array(trimap, dtype=np.float64).ravel()
    if unknown.any():
        rows = cf_laplacian(image, **laplacian_kwargs, is_known=known_pixels)[unknown, :]
        matrix = rows[:, unknown].tocsr()
        make = ichol if preconditioner is None else preconditioner
        right = -rows[:, known_pixels].dot(foreground[known_pixels].astype(np.float64))
        alpha[unknown] = cg(matrix, right, **{"M": make(matrix), **cg_kwargs})
    return np.clip(alpha, 0, 1).reshape(trimap.shape)
