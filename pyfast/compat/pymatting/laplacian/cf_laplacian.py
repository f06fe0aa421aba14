"""The matting Laplacian as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pyfast.compat.pymatting._arguments import as_planes
from pyfast.ops.matting import matting_laplacian

__all__ = ["cf_laplacian"]


def cf_laplacian(
    image: NDArray[Any],
    epsilon: float = 1e-7,
    radius: int = 1,
    is_known: NDArray[Any] | None = None,
) -> Any:
    """`pyfast.matting_laplacian` with PyMatting's words: a SciPy CSR matrix (H W, H W), float64.

    Unlike PyMatting's it is in canonical form, and right on grey pictures.

    Args:
        image: (H, W, 3), floats in [0, 1].
        epsilon: regularisation of the colours' covariance.
        radius: of the windows, in pixels.
        is_known: pixels whose rows are not needed, (H, W) or flat; their entries are undefined.

    Reference: Levin, Lischinski, Weiss 2008, equation 12.
    """
    known = None
    if is_known is not None:
        known = torch.from_numpy(np.asarray(is_known, dtype=np.uint8).reshape(image.shape[:2]))
    matrix = matting_laplacian(as_planes(image), epsilon, radius, known=known, layout="scipy")
    return csr_matrix(matrix)
