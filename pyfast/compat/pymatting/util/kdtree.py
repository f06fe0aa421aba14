"""Nearest points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["KDTree", "knn"]


class KDTree:
    """Points (N, d), float32, to be asked for neighbours: SciPy's tree."""

    def __init__(self, data_points: NDArray[Any]) -> None:
        self._tree = cKDTree(_points("data_points", data_points))

    def query(self, query_points: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Distances, float32, and indices of the `k` points nearest to each of (M, d): (M, k).

        Raises:
            ValueError: there are fewer than `k` points.
        """
        if k > self._tree.n:
            raise ValueError(f"query: expected k of at most {self._tree.n} points, got {k}")
        distances, indices = self._tree.query(
            _points("query_points", query_points), k=[*range(1, k + 1)]
        )
        return distances.astype(np.float32), indices


def knn(
    data_points: NDArray[Any], query_points: NDArray[Any], k: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`KDTree(data_points).query(query_points, k)`"""
    return KDTree(data_points).query(query_points, k)


def _points(name: str, points: NDArray[Any]) -> NDArray[Any]:
    if points.dtype != np.float32 or points.ndim != 2:
        raise ValueError(
            f"expected {name} of shape (N, d), float32, got {points.shape}, {points.dtype}"
        )
    return points
