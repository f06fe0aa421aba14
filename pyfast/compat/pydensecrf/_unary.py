"""Energies of single variables."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyfast.compat.pydensecrf._checks import error, finite_array, first_of, real_array


class Unary:
    """Energies of single variables: `ConstUnary` or `LogisticUnary`."""

    energies: NDArray[np.float32]  # (L, ...)


class ConstUnary(Unary):
    """Energies that are given.

    Args:
        u: -log p of every label and variable, (L, N), or (L, H, W) for pixels.

    Raises:
        TypeError: `u` does not hold numbers.
        ValueError: it has no such shape, a number is NaN, or a variable has no possible label.
    """

    def __init__(self, u: ArrayLike) -> None:
        self.energies = energies("ConstUnary", "u", u)


class LogisticUnary(Unary):
    """Energies that are linear in features of the variables: L f.

    Args:
        L: a row of coefficients for every label, (labels, features).
        f: features, (features, N).

    Raises:
        TypeError: an argument does not hold numbers.
        ValueError: the shapes do not fit, or a number is NaN or infinite.
    """

    def __init__(self, L: ArrayLike, f: ArrayLike) -> None:
        self.energies = logistic("LogisticUnary", "L", L, f)


def energies(function: str, name: str, value: ArrayLike) -> NDArray[np.float32]:
    """A copy of `value`, (L, ...): infinite where a label is impossible, but never all of one."""
    given = real_array(function, name, value)
    if given.ndim < 2:
        raise error(function, name, "of two dimensions or more", f"the shape {given.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.array(given, np.float32, order="C")
        total = found.sum()  # one pass, which tells whether to look closer
    if not np.isfinite(total):
        for wrong, wanted in (
            (np.isnan(found), "not to be NaN"),
            (np.isneginf(found), "above -inf"),
        ):
            if wrong.any():
                raise error(function, name, wanted, first_of(found, wrong))
        impossible = np.asarray(np.isinf(found).all(axis=0))
        if impossible.any():
            where = first_of(impossible, impossible).partition(" at ")[2]
            raise error(
                function, name, "to leave every variable a label", f"inf for all at {where}"
            )
    return found


def logistic(
    function: str, name: str, coefficients: ArrayLike, features: ArrayLike
) -> NDArray[np.float32]:
    """The product of (L, features) and (features, N)."""
    rows, columns = (
        finite_array(function, name, coefficients),
        finite_array(function, "f", features),
    )
    if rows.ndim != 2:
        raise error(function, name, "of shape (L, features)", rows.shape)
    if columns.ndim != 2 or len(columns) != rows.shape[1]:
        raise error(function, "f", f"of shape ({rows.shape[1]}, N)", columns.shape)
    return (rows.astype(np.float32) @ columns.astype(np.float32)).astype(np.float32)
