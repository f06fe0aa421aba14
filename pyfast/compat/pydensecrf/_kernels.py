"""Pairwise kernels and mean field, through the array doors of the native module."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyfast._native import _C

Floats = NDArray[np.float32]
MOST_CORNERS = 2**31 - 64  # of a lattice, d + 1 for each point


class NormalizationType(IntEnum):
    """How a kernel K with row sums r is scaled."""

    NO_NORMALIZATION = 0  # K as the lattice has it: half to nine tenths of the Gaussian sum
    NORMALIZE_BEFORE = 1  # K diag(1 / r)
    NORMALIZE_AFTER = 2  # diag(1 / r) K
    NORMALIZE_SYMMETRIC = 3  # diag(r^-1/2) K diag(r^-1/2)


class Kernel(NamedTuple):
    """K, and what it means to labels that meet."""

    lattice: Floats  # what the doors made of features; empty for a kernel of places
    grid: tuple[float, float, float]  # of a kernel of places: sx, sy, and the scale 1
    cost: Floats  # (L, L)
    normalization: NormalizationType

    def message(self, marginals: Floats, size: tuple[int, int]) -> Floats:
        """cost K~ Q, (L, N): what the kernel adds to the energies."""
        how = self.normalization
        if how == NormalizationType.NO_NORMALIZATION:
            return self.cost @ self._sum(marginals, size)
        mass = self._sum(np.ones_like(marginals[:1]), size) + np.float32(1e-20)
        if how == NormalizationType.NORMALIZE_BEFORE:
            return self.cost @ self._sum(marginals / mass, size)
        if how == NormalizationType.NORMALIZE_AFTER:
            return self.cost @ (self._sum(marginals, size) / mass)
        root = np.sqrt(mass)
        return self.cost @ (self._sum(marginals / root, size) / root)

    def _sum(self, values: Floats, size: tuple[int, int]) -> Floats:
        """K values, (C, N)."""
        if self.lattice.size:
            return _C.gaussian_filter(values[None], self.lattice)[0]
        planes = values.reshape(-1, *size)
        along_x = planes @ _gaussian(size[1], self.grid[0])
        return np.matmul(_gaussian(size[0], self.grid[1]), along_x).reshape(values.shape)


def _gaussian(side: int, sigma: float) -> Floats:
    """The Gaussian of all distances along one axis, (side, side)."""
    place = np.arange(side) / sigma
    return np.exp(-((place[:, None] - place) ** 2) / 2).astype(np.float32)


def features_kernel(features: Floats, cost: Floats, normalization: NormalizationType) -> Kernel:
    """A kernel over features, (d, N).

    Raises:
        ValueError: they reach too far for the lattice.
    """
    lattice = _C.gaussian_lattice(np.ascontiguousarray(features)[None])
    return Kernel(lattice, (0.0, 0.0, 1.0), cost, normalization)


def places_kernel(
    size: tuple[int, int], sxy: Sequence[float], cost: Floats, normalization: NormalizationType
) -> Kernel:
    """A kernel of the places of pixels, which needs no lattice and so is more exact than one.

    Where nothing is normalised the lattice's scale shows, and there it is a lattice.
    """
    if normalization == NormalizationType.NO_NORMALIZATION:
        return features_kernel(pixel_features(np.zeros((*size, 0)), sxy, ()), cost, normalization)
    return Kernel(np.zeros(0, np.float32), (sxy[0], sxy[1], 1.0), cost, normalization)


def pixel_features(
    image: NDArray[Any], sxy: Sequence[float], deviations: Sequence[float]
) -> Floats:
    """Places and channels over their deviations, (2 + C, H W), x before y; image (H, W, C)."""
    height, width, channels = image.shape
    if height * width * (channels + 3) > MOST_CORNERS:  # before memory is asked for
        raise ValueError(f"{height} x {width} pixels have more corners than 2^31")
    features = np.empty((2 + channels, height, width), np.float32)
    features[0] = np.arange(width, dtype=np.float32) / np.float32(sxy[0])
    features[1] = (np.arange(height, dtype=np.float32) / np.float32(sxy[1]))[:, None]
    for channel, deviation in enumerate(deviations):
        np.divide(image[:, :, channel], np.float32(deviation), out=features[2 + channel])
    return features.reshape(2 + channels, -1)


def mean_field(
    unary: Floats,
    kernels: Sequence[Kernel],
    size: tuple[int, int],
    iterations: int,
    start: Floats | None = None,
) -> Floats:
    """Marginals (L, N) after `iterations`, from the unary's own or from `start`."""
    labels = len(unary)
    lattices = [kernel.lattice for kernel in kernels if kernel.lattice.size]
    marginals = _C.mean_field(
        unary[None],
        np.zeros((0, 0, 0), np.float32) if start is None else start[None],
        lattices[0] if len(lattices) == 1 else np.concatenate([np.zeros(0, np.float32), *lattices]),
        np.array([kernel.grid for kernel in kernels], np.float32).reshape(-1, 3),
        np.array([kernel.cost for kernel in kernels], np.float32).reshape(-1, labels, labels),
        tuple(kernel.lattice.size for kernel in kernels),
        tuple(int(kernel.normalization) for kernel in kernels),
        size,
        iterations,
    )
    return marginals[0]
