"""Multigrid on the whole picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

__all__ = ["vcycle"]

Vector = NDArray[Any]


def vcycle(
    A: Any,
    shape: tuple[int, int],
    num_pre_iter: int = 1,
    num_post_iter: int = 1,
    omega: float = 0.8,
    direct_solve_size: int = 64,
    cache: dict[Any, Any] | None = None,
) -> Callable[[Vector], Vector]:
    """One V-cycle for a matrix over the pixels of a picture.

    Args:
        A: SciPy matrix (H W, H W).
        shape: (H, W).
        num_pre_iter: damped Jacobi steps before the coarser grid.
        num_post_iter: the same after it.
        omega: their damping.
        direct_solve_size: grids of at most so many pixels are solved directly.
        cache: keeps the coarser matrices for another call with the same `A`.

    Reference: Lee, Wu 2014, Scalable Matting: A Sub-linear Approach.
    """
    levels: list[tuple[Any, Vector, Any]] = [] if cache is None else cache.setdefault("levels", [])
    if not levels:
        matrix, size = scipy.sparse.csr_matrix(A), shape
        while matrix.shape[0] > direct_solve_size and min(size) > 1:
            restriction, size = _restriction(size)
            levels.append((matrix, matrix.diagonal(), restriction))
            matrix = (restriction @ matrix @ restriction.T).tocsr()
        levels.append((splu(matrix.tocsc()), matrix.diagonal(), None))

    def smooth(level: int, x: Vector, b: Vector, steps: int) -> Vector:
        matrix, diagonal, _ = levels[level]
        for _ in range(steps):
            x = x + omega * (b - matrix @ x) / diagonal
        return x

    def cycle(level: int, b: Vector) -> Vector:
        matrix, _, restriction = levels[level]
        if restriction is None:
            return np.asarray(matrix.solve(b))
        x = smooth(level, np.zeros_like(b), b, num_pre_iter)
        x = x + restriction.T @ cycle(level + 1, restriction @ (b - matrix @ x))
        return smooth(level, x, b, num_post_iter)

    return lambda b: cycle(0, np.asarray(b, dtype=np.float64))


def _restriction(size: tuple[int, int]) -> tuple[Any, tuple[int, int]]:
    """To a grid of half the size, by weights 1, 2, 1 on each axis."""

    def along(length: int) -> Any:
        coarse = length // 2
        weights = [np.full(coarse, 0.5), np.full(coarse, 0.25), np.full(coarse, 0.25)]
        rows = np.tile(np.arange(coarse), 3)
        columns = np.concatenate([2 * np.arange(coarse) + shift for shift in (0, -1, 1)])
        inside = (columns >= 0) & (columns < length)
        entries = np.concatenate(weights)[inside], (rows[inside], columns[inside])
        return scipy.sparse.csr_matrix(entries, shape=(coarse, length))

    height, width = size
    matrix = scipy.sparse.kron(along(height), along(width), format="csr")
    return matrix, (height // 2, width // 2)
