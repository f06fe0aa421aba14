"""Pictures of known alpha for the benchmarks of matting, as NumPy arrays."""

from __future__ import annotations

from functools import cache
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


def sides_of(megapixels: float) -> tuple[int, int]:
    """Height and width of a scene of that many pixels, 3 high for 4 wide."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    return round(width * 3 / 4), width


@cache
def scene_of(megapixels: float) -> Scene:
    """A scene of that many pixels."""
    made = matte_scene(*sides_of(megapixels))
    arrays = (part.double().numpy() for part in made)
    return Scene(
        *(np.ascontiguousarray(np.moveaxis(x, 0, -1)) if x.ndim == 3 else x for x in arrays)
    )
