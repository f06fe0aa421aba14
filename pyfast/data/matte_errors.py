"""How far a matte is from the true one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matte = NDArray[Any]


def matte_errors(found: Matte, true: Matte, unknown: Matte) -> dict[str, float]:
    """How far a matte is from the true one over the unknown pixels, in four ways.

    Args:
        found: (H, W), in [0, 1].
        true: (H, W), in [0, 1].
        unknown: (H, W), bool: where it counts.

    Returns:
        SAD, the sum of absolute differences in thousands; MSE, the mean of squared ones; gradient
        and connectivity, sums of what their functions say, in thousands.

    Reference: Rhemann et al. 2009, A Perceptually Motivated Online Benchmark for Image Matting.
    """
    difference = (found - true)[unknown]
    return {
        "SAD": float(np.abs(difference).sum() / 1e3),
        "MSE": float(np.square(difference).mean()),
        "gradient": gradient_error(found, true, unknown),
        "connectivity": connectivity_error(found, true, unknown),
    }


def gradient_error(found: Matte, true: Matte, unknown: Matte) -> float:
    """Squared differences of the mattes' gradient magnitudes, Gaussian derivatives of sigma 1.4."""
    from scipy.ndimage import gaussian_filter

    def magnitude(x: Matte) -> Matte:
        return np.hypot(*(gaussian_filter(x, 1.4, order=order) for order in ((0, 1), (1, 0))))

    return float(np.square(magnitude(found) - magnitude(true))[unknown].sum() / 1e3)


def connectivity_error(found: Matte, true: Matte, unknown: Matte, step: float = 0.1) -> float:
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

    def connection(alpha: Matte) -> Matte:
        above = alpha - level
        return 1 - above * (above >= 0.15)

    return float(np.abs(connection(found) - connection(true))[unknown].sum() / 1e3)
