"""Distances to a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

__all__ = ["distance_transform"]


def distance_transform(mask: NDArray[Any]) -> NDArray[np.float64]:
    """How far each pixel of (H, W) is from the nearest one that is 0; inf where there is none."""
    inside = np.asarray(mask) != 0
    if inside.all():
        return np.full(inside.shape, np.inf)
    return np.asarray(distance_transform_edt(inside))
