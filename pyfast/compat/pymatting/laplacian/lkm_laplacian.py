"""The matting Laplacian as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting._arguments import as_planes
from pyfast.compat.pymatting.util.boxfilter import boxfilter
from pyfast.ops.matting import MattingLaplacian

__all__ = ["lkm_laplacian"]

Product = Callable[[NDArray[Any]], NDArray[Any]]
_SMALL = 2  # up to this radius a fit of every window is sooner than sums over windows


def lkm_laplacian(
    image: NDArray[Any], epsilon: float = 1e-7, radius: int = 10, return_diagonal: bool = True
) -> Any:
    """A function that multiplies by the matting Laplacian.

    Small windows are those of `pyfast.MattingLaplacian`. For large ones it takes sums over windows,
    in a time that does not grow with the radius.

    Args:
        image: (H, W, C), floats in [0, 1].
        epsilon: regularisation of the colours' covariance.
        radius: of the windows, in pixels.
        return_diagonal: whether to return (function, diagonal).

    Reference: He, Sun, Tang 2010, Fast Matting Using Large Kernel Matting Laplacian Matrices.
    """
    if radius <= _SMALL:
        laplacian = MattingLaplacian(as_planes(image), epsilon, radius)
        product: Product = laplacian.matvec
        diagonal = laplacian.diagonal().numpy()
    else:
        sums = _WindowSums(np.atleast_3d(image).astype(np.float64), epsilon, radius)
        product, diagonal = sums.product, sums.diagonal()

    def apply(vector: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(product(np.asarray(vector, dtype=np.float64).ravel()))

    return (apply, diagonal) if return_diagonal else apply


class _WindowSums:
    """L from sums over windows: in every window q - mean fits the vector by colour and constant.

    With the moments of a window, its mean colour m and S = covariance + epsilon / n, the fit of v
    has the slope a = S^-1 (mean(v I) - mean(v) m) and the constant b = mean(v) - a m; and
    (L v)_i is the sum of v_i - a I_i - b over the windows around i.
    """

    def __init__(self, image: NDArray[np.float64], epsilon: float, radius: int) -> None:
        self.image, self.radius = image, radius
        self.pixels = (2 * radius + 1) ** 2
        self.mean = self._within(image)
        products = image[..., :, None] * image[..., None, :]
        covariance = self._within(products) - self.mean[..., :, None] * self.mean[..., None, :]
        identity = np.eye(image.shape[2])
        self.inverse = np.linalg.inv(covariance + epsilon / self.pixels * identity)
        self.count = self._around(np.ones(self.mean.shape[:2]))

    def _within(self, x: NDArray[Any]) -> NDArray[Any]:
        """Means over all windows inside the picture."""
        return boxfilter(x, self.radius, "valid") / self.pixels

    def _around(self, x: NDArray[Any]) -> NDArray[Any]:
        """For every pixel the sum over the windows that it lies in."""
        return boxfilter(_padded(x, self.radius), self.radius, "same")

    def product(self, vector: NDArray[Any]) -> NDArray[Any]:
        v = vector.reshape(self.image.shape[:2])
        mean = self._within(v)
        mixed = self._within(v[..., None] * self.image) - mean[..., None] * self.mean
        slope = np.einsum("...ij,...j->...i", self.inverse, mixed)
        constant = mean - (slope * self.mean).sum(-1)
        fits = (self._around(slope) * self.image).sum(-1) + self._around(constant)
        return (self.count * v - fits).ravel()

    def diagonal(self) -> NDArray[Any]:
        """Sum over the windows around i of 1 - (1 + (I_i - m) S^-1 (I_i - m)) / n."""
        weighted = np.einsum("...ij,...j->...i", self.inverse, self.mean)
        norm = 1 + (weighted * self.mean).sum(-1)
        square = np.einsum(
            "...i,...ij,...j->...", self.image, self._around(self.inverse), self.image
        )
        mixed = (self._around(weighted) * self.image).sum(-1)
        return (self.count - (self._around(norm) + square - 2 * mixed) / self.pixels).ravel()


def _padded(x: NDArray[Any], border: int) -> NDArray[Any]:
    """Zeros around the first two axes."""
    return np.pad(x, [(border, border)] * 2 + [(0, 0)] * (x.ndim - 2))
