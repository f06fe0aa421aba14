"""The Laplacian of equal weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting.util.util import sparse_conv_matrix, weights_to_laplacian

__all__ = ["uniform_laplacian"]


def uniform_laplacian(image: NDArray[Any], radius: int = 1) -> Any:
    """Every pixel of a window of 2 radius + 1 squared weighs the same, whatever its colour."""
    side = 2 * radius + 1
    height, width = image.shape[:2]
    return weights_to_laplacian(sparse_conv_matrix(width, height, np.ones((side, side))))
