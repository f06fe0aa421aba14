"""The matting Laplacian as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting._arguments import as_image
from pyfast.ops.matting import MattingLaplacian

__all__ = ["lkm_laplacian"]

Product = Callable[[NDArray[Any]], NDArray[Any]]


def lkm_laplacian(
    image: NDArray[Any], epsilon: float = 1e-7, radius: int = 10, return_diagonal: bool = True
) -> Product | tuple[Product, NDArray[Any]]:
    """`pyfast.MattingLaplacian` with PyMatting's words: a function that multiplies by the matrix.

    Args:
        image: (H, W, 3), floats in [0, 1].
        epsilon: regularisation of the colours' covariance.
        radius: of the windows, in pixels.
        return_diagonal: whether to return (function, diagonal).
    """
    laplacian = MattingLaplacian(as_image(image), epsilon, radius)
    size = image.shape[0] * image.shape[1]

    def product(vector: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(laplacian.matvec(np.asarray(vector, dtype=np.float64).reshape(size)))

    if not return_diagonal:
        return product
    return product, np.asarray(laplacian.diagonal()).reshape(size)
