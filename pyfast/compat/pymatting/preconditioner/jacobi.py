"""Division by the diagonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

__all__ = ["jacobi"]


def jacobi(A: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The function that divides a vector by the diagonal of `A`.

    >>> import numpy as np
    >>> jacobi(np.array([[2, 3], [3, 5]]))(np.array([1, 2]))
    array([0.5, 0.4])
    """
    inverse = 1.0 / A.diagonal()
    return lambda x: x * inverse
