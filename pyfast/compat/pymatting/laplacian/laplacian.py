"""The linear system of a Laplacian and a trimap."""

from __future__ import annotations

from typing import Any

import scipy.sparse
from numpy.typing import NDArray

from pyfast.compat.pymatting.util.util import trimap_split

__all__ = ["make_linear_system"]


def make_linear_system(
    L: Any, trimap: NDArray[Any], lambda_value: float = 100.0, return_c: bool = False
) -> Any:
    """`A = L + lambda C` and `b = lambda foreground`, where C marks the known pixels.

    Args:
        L: a SciPy matrix (H W, H W).
        trimap: (H, W): 1 foreground, 0 background, else unknown.
        lambda_value: confidence in the trimap.
        return_c: whether to return the diagonal of lambda C as well.
    """
    foreground, _, known, _ = trimap_split(trimap)
    c = lambda_value * known
    matrix = (L + scipy.sparse.diags(c)).tocsr()
    matrix.sum_duplicates()
    right = lambda_value * foreground
    return (matrix, right, c) if return_c else (matrix, right)
