"""The closed-form foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pymatting._arguments import taken
from pyfast.compat.pymatting.foreground._layers import layers

__all__ = ["estimate_foreground_cf"]

_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_NONE: Mapping[str, Any] = {}


def estimate_foreground_cf(
    image: NDArray[Any],
    alpha: NDArray[Any],
    regularization: float = 1e-5,
    rtol: float = 1e-5,
    neighbors: Sequence[tuple[int, int]] = _NEIGHBOURS,
    return_background: bool = False,
    foreground_guess: NDArray[Any] | None = None,
    background_guess: NDArray[Any] | None = None,
    ichol_kwargs: Mapping[str, Any] = _NONE,
    cg_kwargs: Mapping[str, Any] = _NONE,
) -> Any:
    """`pyfast.estimate_foreground(method="closed_form")` with PyMatting's words, in float64.

    Guesses and the solver's arguments are taken and not needed.

    Args:
        image: (H, W, C), floats in [0, 1].
        alpha: (H, W), floats in [0, 1].
        regularization: how much colours are to be smooth everywhere.
        rtol: iterations end when the residual is so small, relative to the right-hand side.
        neighbors: the four of a pixel, and no others.
        return_background: whether to return (foreground, background).
        foreground_guess: not needed.
        background_guess: not needed.
        ichol_kwargs: not needed.
        cg_kwargs: not needed.

    Raises:
        ValueError: for other `neighbors`.

    Reference: Levin, Lischinski, Weiss 2008, equation 19.
    """
    if {tuple(each) for each in neighbors} != set(_NEIGHBOURS):
        raise ValueError(
            f"estimate_foreground_cf: expected neighbors to be {list(_NEIGHBOURS)}, got {neighbors}"
        )
    solver = ("rtol", "maxiter", "x0", "atol", "reorthogonalize", "callback", "M")
    taken("estimate_foreground_cf", "cg_kwargs", cg_kwargs, solver)
    found = layers(
        image,
        alpha,
        np.float64,
        regularization=2 * regularization,  # PyMatting counts every pair of neighbours twice
        gradient_weight=2.0,
        tolerance=float(rtol),
    )
    foreground, background = (np.clip(layer, 0, 1) for layer in found)
    return (foreground, background) if return_background else foreground
