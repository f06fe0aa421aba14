"""Sums over windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting.util.util import apply_to_channels

__all__ = ["boxfilter"]

_MODES = ("valid", "same", "full")


@apply_to_channels
def boxfilter(src: NDArray[Any], radius: int = 3, mode: str = "same") -> NDArray[Any]:
    """Sums over windows of 2 radius + 1 pixels squared, of every channel.

    Args:
        src: (H, W) or (H, W, …), at least as large as a window.
        radius: of the windows, at least 1.
        mode: "valid", only whole windows: (H - 2 radius, W - 2 radius); "same", a window around
            every pixel, zeros outside: (H, W); "full", every window that touches the picture:
            (H + 2 radius, W + 2 radius).

    Raises:
        ValueError: an argument is not as said.
    """
    if mode not in _MODES:
        raise ValueError(f"boxfilter: expected mode to be one of {', '.join(_MODES)}, got {mode!r}")
    if radius < 1 or min(src.shape) < 2 * radius + 1:
        raise ValueError(
            f"boxfilter: expected a radius from 1 whose windows fit into {src.shape}, got {radius}"
        )
    border = radius * _MODES.index(mode)
    padded = np.pad(np.asarray(src, dtype=np.result_type(src, np.float32)), border)
    for axis in (0, 1):
        # A sum is the difference of two sums from the start on, with nothing before the first.
        sums = np.cumsum(padded, axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        count = sums.shape[axis] - 2 * radius - 1
        ends = np.arange(count) + 2 * radius + 1
        padded = sums.take(ends, axis) - sums.take(np.arange(count), axis)
    return padded.astype(np.result_type(src, np.float32))
