"""Both foregrounds through the door of `pyfast._C`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast._native import _C


def layers(
    image: NDArray[Any], alpha: NDArray[Any], dtype: type[np.floating[Any]], **options: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Foreground and background, (H, W, C), of an image of that shape or of (H, W)."""
    pixels = np.asarray(image, dtype=dtype)
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)[None]
    matte = np.asarray(alpha, dtype=dtype).reshape(1, 1, *planes.shape[2:])
    results = np.empty_like(pixels, order="C"), np.empty_like(pixels, order="C")
    out = tuple(np.atleast_3d(result).transpose(2, 0, 1)[None] for result in results)
    _C.foreground(planes, matte, out=(out[0], out[1]), **options)
    return results
