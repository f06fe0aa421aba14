"""Pictures of known alpha for the benchmarks of matting, as NumPy arrays."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pyfast.data import matte_scene

Array = np.ndarray


class Scene(NamedTuple):
    """In float64, as PyMatting wants it; see `pyfast.data.MatteScene`."""

    image: Array  # (H, W, 3)
    alpha: Array  # (H, W)
    foreground: Array  # (H, W, 3)
    background: Array  # (H, W, 3)
    trimap: Array  # (H, W)
    scribbles: Array  # (H, W)


@cache
def scene_of(megapixels: float) -> Scene:
    """A scene of that many pixels, 3 high for 4 wide."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    made = matte_scene(round(width * 3 / 4), width)
    arrays = (part.double().numpy() for part in made)
    return Scene(
        *(np.ascontiguousarray(np.moveaxis(x, 0, -1)) if x.ndim == 3 else x for x in arrays)
    )


def errors(found: Array, true: Array, unknown: Array) -> dict[str, float]:
    """How far a matte is from the true one over the unknown pixels.

    Reference: Rhemann et al. 2009, A Perceptually Motivated Online Benchmark for Image Matting:
    sums of absolute differences and of gradients' in thousands, and connectivity, equation 3.
    """
    difference = (found - true)[unknown]
    return {
        "SAD": float(np.abs(difference).sum() / 1e3),
        "MSE": float(np.square(difference).mean()),
        "gradient": gradient_error(found, true, unknown),
        "connectivity": connectivity_error(found, true, unknown),
    }


def gradient_error(found: Array, true: Array, unknown: Array) -> float:
    """Squared differences of the mattes' gradient magnitudes, Gaussian derivatives of sigma 1.4."""
    from scipy.ndimage import gaussian_filter

    def magnitude(x: Array) -> Array:
        return np.hypot(*(gaussian_filter(x, 1.4, order=order) for order in ((0, 1), (1, 0))))

    return float(np.square(magnitude(found) - magnitude(true))[unknown].sum() / 1e3)


def connectivity_error(found: Array, true: Array, unknown: Array, step: float = 0.1) -> float:
    """Differences of how connected pixels are to the largest region that both have at full opacity.

    A pixel is connected up to the highest level at which it is in the same region as that one; what
    it is above that level, from 0.15 on, counts.
    """
    from scipy.ndimage import label

    level = np.full(true.shape, -1.0)
    steps = np.arange(0, 1 + step / 2, step)
    for before, threshold in pairwise(steps):
        regions, count = label((found >= threshold) & (true >= threshold))
        if count == 0:
            inside = np.zeros(true.shape, bool)
        else:
            inside = regions == 1 + np.argmax(np.bincount(regions.ravel())[1:])
        level[(level < 0) & ~inside] = before
    level[level < 0] = 1

    def connection(alpha: Array) -> Array:
        above = alpha - level
        return 1 - above * (above >= 0.15)

    return float(np.abs(connection(found) - connection(true))[unknown].sum() / 1e3)
