"""The CUDA shifts of ASPP, run on the host, against plain NumPy in float64."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from simt_build import SANITIZED, run_sanitized

KERNELS = "simt_dilated_conv"
SCHEDULES = ["forward", "reverse", "random"]
ROWS, COLUMNS = [-3, -3, 0, 0, 2, 9], [-30, 0, 0, 5, -1, 2]


def added(products: np.ndarray) -> np.ndarray:
    """(N, taps, O, H, W) -> (N, O, H, W)."""
    height, width = products.shape[3:]
    result = np.zeros_like(products[:, 0])
    for t, (row, column) in enumerate(zip(ROWS, COLUMNS, strict=True)):
        for y in range(max(0, -row), min(height, height - row)):
            for x in range(max(0, -column), min(width, width - column)):
                result[:, :, y, x] += products[:, t, :, y + row, x + column]
    return result


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("d", 1e-13), ("f", 1e-6), ("e", 2e-3)])
@pytest.mark.parametrize("size", [(1, 3, 7, 9), (2, 5, 4, 40), (3, 1, 1, 1)])
def test_add_and_spread(
    kernels: ModuleType, size: tuple[int, ...], dtype: str, tolerance: float, schedule: str
) -> None:
    kernels.set_schedule(schedule, 4)
    random = np.random.default_rng(0)
    products = random.standard_normal((size[0], len(ROWS), *size[1:])).astype(dtype)
    image = np.full(size, np.nan, dtype)
    assert kernels.shift(products, image, ROWS, COLUMNS, False) == 0
    np.testing.assert_allclose(image, added(products.astype("d")), atol=8 * tolerance)
    # The adjoint: <spread(g), p> = <g, add(p)>.
    grad, spread = random.standard_normal(size).astype(dtype), np.full_like(products, np.nan)
    assert kernels.shift(spread, grad, ROWS, COLUMNS, True) == 0
    found = (spread.astype("d") * products.astype("d")).sum()
    wanted = (grad.astype("d") * added(products.astype("d"))).sum()
    assert abs(found - wanted) < 1e-10


def test_nothing_is_read_from_outside(kernels: ModuleType) -> None:
    """Products that no output takes may be anything."""
    products = np.full((1, len(ROWS), 1, 3, 4), np.nan, np.float32)
    for t, (row, column) in enumerate(zip(ROWS, COLUMNS, strict=True)):
        for y in range(max(0, -row), min(3, 3 - row)):
            for x in range(max(0, -column), min(4, 4 - column)):
                products[0, t, 0, y + row, x + column] = 1
    image = np.empty((1, 1, 3, 4), np.float32)
    assert kernels.shift(products, image, ROWS, COLUMNS, False) == 0
    assert np.isfinite(image).all()


def test_empty(kernels: ModuleType) -> None:
    products, image = np.empty((0, 6, 2, 3, 4), "f"), np.empty((0, 2, 3, 4), "f")
    assert kernels.shift(products, image, ROWS, COLUMNS, False) == 0
    assert kernels.shift(products, image, ROWS, COLUMNS, True) == 0


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="runs already")
def test_sanitized() -> None:
    run_sanitized(KERNELS, [Path(__file__)], "add_and_spread or empty")
