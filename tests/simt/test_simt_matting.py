"""The CUDA kernels of the matting Laplacian, run on the host, against plain torch in float64."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse
import torch
from matting_cases import EPSILON, SCHEDULES, matrix_of, picture, vectors
from simt_build import SANITIZED, run_sanitized

from pyfast.ops._matting_reference import (
    matting_form_reference,
    matting_laplacian_reference,
    matting_product_reference,
)

KERNELS = "simt_matting"
# Below, at and beyond the 128 pixels of a block; sides that hold one window, and fewer than two.
SIZES = [(3, 4), (8, 16), (3, 43)] + ([] if SANITIZED else [(3, 3), (5, 7), (17, 23)])


def dense(image: np.ndarray, radius: int = 1, known: np.ndarray | None = None) -> np.ndarray:
    """L of one image, (D, H, W)."""
    mask = None if known is None else torch.tensor(known)
    return matting_laplacian_reference(torch.tensor(image), EPSILON, radius, mask).numpy()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SIZES)
def test_form(kernels: ModuleType, size: tuple[int, int], dtype: str, schedule: str) -> None:
    kernels.set_schedule(schedule, 5)
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    for channels, count, radius in ((3, 2, 1), (1, 1, 1), (2, 3, 1), (3, 1, 2)):
        if min(size) < 2 * radius + 1:
            continue
        image = picture(2, channels, *size).astype(dtype)
        u, v = (vectors(image, count, seed).astype(dtype) for seed in (1, 2))
        colours, of_u, of_v = (torch.tensor(a, dtype=torch.float64) for a in (image, u, v))
        for left, reference in ((None, of_v), (u, of_u)):
            energy = np.full((2, count), np.nan)
            product, slope = np.full_like(v, np.nan), np.full_like(image, np.nan)
            error = kernels.form(image, left, v, energy, product, slope, EPSILON, radius)
            assert error == 0
            asked = colours.clone().requires_grad_()
            expected = matting_form_reference(reference, of_v, asked, EPSILON, radius)
            (of_image,) = torch.autograd.grad(expected.sum(), asked)
            scale = 1 + np.abs(of_image.numpy()).max()
            np.testing.assert_allclose(energy, expected.detach(), rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(
                product,
                matting_product_reference(of_v, colours, EPSILON, radius),
                rtol=tolerance,
                atol=tolerance,
            )
            np.testing.assert_allclose(slope / scale, of_image / scale, atol=tolerance)


def test_parts_that_are_not_asked_for(kernels: ModuleType) -> None:
    image = picture(1, 3, 6, 7)
    v = vectors(image, 2)
    whole = np.empty((1, 2)), np.empty_like(v), np.empty_like(image)
    assert kernels.form(image, None, v, *whole, EPSILON, 1) == 0
    kernels.take_counters()
    for part, launches in ((0, 2), (1, 2), (2, 2)):
        asked: list[np.ndarray | None] = [None, None, None]
        asked[part] = np.full_like(whole[part], np.nan)
        assert kernels.form(image, None, v, *asked, EPSILON, 1) == 0
        assert np.array_equal(asked[part], whole[part])
        assert kernels.take_counters()["launches"] == launches
    # The design's promise: three launches and no atomic operation for energy and both gradients.
    assert kernels.form(image, None, v, *whole, EPSILON, 1) == 0
    counters = kernels.take_counters()
    assert (counters["launches"], counters["atomics"]) == (3, 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_a_gradient_needs_besides_the_form(kernels: ModuleType, dtype: str) -> None:
    random = np.random.default_rng(0)
    for batch, count in ((0, 3), (1, 0), (3, 1), (2, 128), (130, 5)):
        values = random.standard_normal((batch, count))
        totals = np.full(batch, np.nan, dtype)
        assert kernels.totals(values, totals) == 0
        np.testing.assert_allclose(totals, values.sum(1), rtol=1e-5, atol=1e-5)
        factors, result = totals.copy(), np.full(values.shape, np.nan, dtype)
        assert kernels.scale(values.astype(dtype), factors, 2.0, result) == 0
        np.testing.assert_allclose(result, 2 * factors[:, None] * values, rtol=1e-5, atol=1e-5)
        assert kernels.scale(result, None, 0.5, result) == 0  # in place
        np.testing.assert_allclose(result, factors[:, None] * values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("size", SIZES)
def test_matrix(kernels: ModuleType, size: tuple[int, int], schedule: str) -> None:
    kernels.set_schedule(schedule, 5)
    for channels, radius in ((3, 1), (1, 1), (4, 1), (3, 2)):
        if min(size) < 2 * radius + 1:
            continue
        image = picture(1, channels, *size)[0]
        found = matrix_of(kernels, image, radius=radius)
        assert found.has_canonical_format
        np.testing.assert_allclose(found.toarray(), dense(image, radius), atol=1e-9)
        diagonal = np.full(size, np.nan)
        assert kernels.diagonal(image[None], diagonal, EPSILON, radius) == 0
        np.testing.assert_allclose(diagonal.ravel(), found.diagonal(), atol=1e-12)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-7, 1e-3])
def test_matrix_of_grey_and_flat_pictures(kernels: ModuleType, epsilon: float) -> None:
    """Covariances of one direction and of none: rows sum to zero, nothing is negative."""
    grey = np.repeat(picture(1, 1, 7, 9), 3, 1)[0]
    black_and_white = np.round(grey)
    for image in (grey, black_and_white, np.full_like(grey, 0.5)):
        row_start, column = np.empty(64, np.int32), np.empty(29 * 39, np.int32)
        value = np.empty(29 * 39)
        assert kernels.matrix(image[None], None, row_start, column, value, epsilon, 1) == 0
        found = scipy.sparse.csr_matrix((value, column, row_start), (63, 63)).toarray()
        np.testing.assert_allclose(found, found.T, atol=1e-10)
        np.testing.assert_allclose(found.sum(1), 0, atol=1e-10)
        assert np.linalg.eigvalsh(found)[0] > -1e-10


def test_windows_that_are_known(kernels: ModuleType) -> None:
    image = picture(1, 3, 9, 20)[0]
    known = np.ones((9, 20), np.uint8)
    known[3:5, 4:9] = 0
    found = matrix_of(kernels, image, known).toarray()
    np.testing.assert_allclose(found, dense(image, 1, known), atol=1e-9)
    unknown = known.ravel() == 0
    np.testing.assert_allclose(found[unknown], dense(image)[unknown], atol=1e-9)


def test_the_largest_radius_and_beyond(kernels: ModuleType) -> None:
    """Rows are added up in shared memory: (4 radius + 1)^2 entries of one row have to fit."""
    image = picture(1, 1, 15, 16)[0]
    np.testing.assert_allclose(
        matrix_of(kernels, image, radius=7).toarray(), dense(image, 7), atol=1e-9
    )
    nothing = np.zeros(1, np.int32)
    assert kernels.matrix(image[None], None, nothing, nothing, np.zeros(1), EPSILON, 20) == 1


def test_nothing_to_do(kernels: ModuleType) -> None:
    for shape in ((0, 3, 5, 5), (2, 3, 0, 5)):
        image = np.zeros(shape)
        v = np.zeros((shape[0], 2, *shape[2:]))
        energy = np.full((shape[0], 2), np.nan)
        assert kernels.form(image, None, v, energy, v.copy(), image.copy(), EPSILON, 1) == 0
        assert (energy == 0).all()
        assert kernels.diagonal(image, np.zeros((shape[0], *shape[2:])), EPSILON, 1) == 0
    image = picture(1, 3, 5, 6)
    none = np.zeros((1, 0, 5, 6))
    slope = np.full_like(image, np.nan)
    assert kernels.form(image, None, none, np.zeros((1, 0)), none, slope, EPSILON, 1) == 0
    assert (slope == 0).all()


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="is the run under the sanitizers")
def test_under_sanitizers() -> None:
    files = [Path(__file__).with_name(f"test_{KERNELS}{part}.py") for part in ("", "_solver")]
    run_sanitized(KERNELS, files, "form or matrix or edges or levels or known or nothing")
