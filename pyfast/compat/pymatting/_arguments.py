"""PyMatting's arguments as pyfast takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_image(image: NDArray[Any]) -> NDArray[Any]:
    """An image in float64: PyMatting computes in it, whatever comes."""
    return image if image.dtype.kind in "bu" else image.astype(np.float64)


def as_trimap(trimap: NDArray[Any]) -> NDArray[Any]:
    """A trimap in float64, of one channel."""
    plane = trimap[..., 0] if trimap.ndim == 3 and trimap.shape[2] == 1 else trimap
    return plane if plane.dtype.kind in "bu" else plane.astype(np.float64)


def taken(op: str, name: str, words: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises TypeError for a word in the dictionary `name` that the function does not know."""
    unknown = sorted(set(words) - set(known))
    if unknown:
        raise TypeError(
            f"{op}: expected {name} of {', '.join(known)}, got {', '.join(unknown)} too"
        )
