"""Pictures for the matting kernels, and what several tests ask of them."""

from types import ModuleType

import numpy as np
import scipy.sparse

SCHEDULES = ["forward", "reverse", "random"]
EPSILON = 1e-5


def picture(batch: int, channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise, in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phase = random.uniform(0, 6, (batch, channels, 1, 1))
    smooth = 0.4 + 0.3 * np.sin(0.31 * y + 0.47 * x + phase)
    noise = random.uniform(0, 0.2, (batch, channels, height, width))
    return np.clip(smooth + noise, 0, 1)


def vectors(image: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    batch, _, height, width = image.shape
    return np.random.default_rng(seed).standard_normal((batch, count, height, width))


def matrix_of(
    kernels: ModuleType, image: np.ndarray, known: np.ndarray | None = None, radius: int = 1
) -> scipy.sparse.csr_matrix:
    height, width = image.shape[1:]

    def pairs(size: int) -> int:
        near = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= 2 * radius
        return int(near.sum())

    entries = pairs(height) * pairs(width)
    row_start = np.full(height * width + 1, -1, np.int32)
    column = np.full(entries, -1, np.int32)
    value = np.full(entries, np.nan)
    assert kernels.matrix(image[None], known, row_start, column, value, EPSILON, radius) == 0
    assert row_start[-1] == entries
    return scipy.sparse.csr_matrix((value, column, row_start), (height * width,) * 2)
