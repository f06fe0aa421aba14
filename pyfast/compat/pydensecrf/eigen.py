"""Matrices and vectors of float32, as pydensecrf hands them out.

There they offer their memory and nothing else; here they are NumPy arrays besides, so that what
goes through `np.array` or `np.argmax` works, and what works on an array does too.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MatrixXf", "VectorXf", "matrixXf", "vectorXf"]

_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]


class MatrixXf(_Floats):
    """A matrix of float32; `MatrixXf()` is empty."""

    def __new__(cls) -> "MatrixXf":
        return np.zeros((0, 0), np.float32).view(cls)


class VectorXf(_Floats):
    """A vector of float32; `VectorXf()` is empty."""

    def __new__(cls) -> "VectorXf":
        return np.zeros(0, np.float32).view(cls)


def matrixXf(arr: ArrayLike) -> MatrixXf:
    """A copy of `arr`, two-dimensional and of any real numbers, as a `MatrixXf`.

    Raises:
        TypeError: `arr` does not hold real numbers.
        ValueError: `arr` has not two dimensions.
    """
    return _copy("matrixXf", arr, 2).view(MatrixXf)


def vectorXf(arr: ArrayLike) -> VectorXf:
    """A copy of `arr`, one-dimensional and of any real numbers, as a `VectorXf`.

    Raises:
        TypeError: `arr` does not hold real numbers.
        ValueError: `arr` has not one dimension.
    """
    return _copy("vectorXf", arr, 1).view(VectorXf)


def is_real(array: NDArray[Any]) -> bool:
    """Whether it holds booleans, integers or floats."""
    return array.dtype.kind in "buif"


def _copy(function: str, arr: ArrayLike, dims: int) -> NDArray[np.float32]:
    array = np.asarray(arr)
    if not is_real(array):
        raise TypeError(f"{function}: expected arr to hold real numbers, got {array.dtype}")
    if array.ndim != dims:
        raise ValueError(f"{function}: expected arr of {dims} dimensions, got {array.ndim}")
    return np.array(array, np.float32)
