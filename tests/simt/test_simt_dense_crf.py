"""Every CUDA kernel of the dense CRF, run on the host and compared with the definitions."""

import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from dense_crf_cases import (
    SCHEDULES,
    Bilateral,
    Grid,
    colours,
    cost_matrix,
    energies,
    mean_field_by_torch,
    photo,
    points,
    standard_normal,
)
from simt_build import SANITIZED, run_sanitized

from pyfast import GaussianFilter
from pyfast.ops._dense_crf_reference import exact_filter_reference, lattice_filter_reference

KERNELS = "simt_dense_crf"
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-10}
REALS = [np.float32, np.float64]


def close(found: np.ndarray, expected: torch.Tensor | np.ndarray, tolerance: float) -> None:
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("count", [1, 31, 33, 255, 2047, 2048, 2049, 5000])
def test_sort_is_stable(kernels: ModuleType, count: int, schedule: str) -> None:
    kernels.set_schedule(schedule, count)
    random = np.random.default_rng(count)
    for bits, most in ((1, 2), (8, 256), (21, 2**21), (64, 2**63)):
        keys = random.integers(0, most, count, np.uint64)
        np.testing.assert_array_equal(kernels.order_of(keys, bits), np.argsort(keys, kind="stable"))


def test_sort_looks_at_the_lowest_bits(kernels: ModuleType) -> None:
    keys = np.array([0x300, 0x102, 0x201, 0x001], np.uint64)
    np.testing.assert_array_equal(kernels.order_of(keys, 8), [0, 2, 3, 1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("count", [1, 7, 8, 2047, 2048, 2049, 4097, 2048 * 3])
def test_scan(kernels: ModuleType, count: int, schedule: str) -> None:
    kernels.set_schedule(schedule, count)
    values = np.random.default_rng(count).integers(0, 9, count, np.int32)
    np.testing.assert_array_equal(kernels.sums_before(values), np.cumsum(values) - values)
    assert kernels.take_counters()["launches"] == 3


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3, 5, 8, 16, 20])
def test_lattice(kernels: ModuleType, dims: int, closed: bool, real: type) -> None:
    count = 3 if closed and dims > 8 else 60
    features = points(2, dims, count, real)
    values = standard_normal(2, 3, count, dtype=real)
    lattice = kernels.build(features, closed)
    for transposed in (False, True):
        expected = lattice_filter_reference(
            torch.tensor(features), torch.tensor(values), closed=closed, transposed=transposed
        )
        close(kernels.filter(values, lattice, transposed), expected, TOLERANCE[real])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("closed", [False, True])
def test_schedules_give_the_same_bits(kernels: ModuleType, closed: bool, schedule: str) -> None:
    features, values = points(1, 5, 70, np.float32), standard_normal(1, 21, 70, dtype=np.float32)
    lattice = kernels.build(features, closed)
    expected = kernels.filter(values, lattice, False)
    kernels.set_schedule(schedule, 3)
    again = kernels.build(features, closed)
    np.testing.assert_array_equal(again, lattice)
    np.testing.assert_array_equal(kernels.filter(values, again, False), expected)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 21, 32, 33, 127, 128, 129, 150])
def test_channels(kernels: ModuleType, channels: int, real: type) -> None:
    features = points(1, 2, 90, real)
    values = standard_normal(1, channels, 90, dtype=real)
    lattice = kernels.build(features, False)
    expected = lattice_filter_reference(torch.tensor(features), torch.tensor(values))
    close(kernels.filter(values, lattice, False), expected, TOLERANCE[real])
    exact = exact_filter_reference(torch.tensor(features), torch.tensor(values))
    close(kernels.exact(values, features), exact, TOLERANCE[real])


@pytest.mark.parametrize("count", [1, 2, 15, 16, 21, 22, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_numbers_of_points(kernels: ModuleType, count: int) -> None:
    """Around the chunks of 64 corners, tiles of 32 points, blocks."""
    for images, dims in ((1, 1), (3, 2), (1, 3)):
        features = points(images, dims, count, np.float64)
        values = standard_normal(images, 2, count, dtype=np.float64)
        expected = lattice_filter_reference(torch.tensor(features), torch.tensor(values))
        close(kernels.filter(values, kernels.build(features, False), False), expected, 1e-10)
        exact = exact_filter_reference(torch.tensor(features), torch.tensor(values))
        close(kernels.exact(values, features), exact, 1e-10)


def test_one_vertex_with_many_points(kernels: ModuleType) -> None:
    """Its list goes through many chunks, each of which carries a sum."""
    for spread in (0.0, 1e-3):
        features = spread * points(1, 2, 500, np.float64)
        values = standard_normal(1, 5, 500, dtype=np.float64)
        expected = lattice_filter_reference(torch.tensor(features), torch.tensor(values))
        close(kernels.filter(values, kernels.build(features, False), False), expected, 1e-9)


def test_a_lattice_has_the_vertices_of_its_points(kernels: ModuleType) -> None:
    features = points(1, 5, 40, np.float64)
    lattice = kernels.build(features, False)
    closed = kernels.build(features, True)
    assert lattice[:3].tolist() == [5, 1, 40]
    assert 6 <= lattice[3] <= 240
    assert 2 * lattice[3] < closed[3] <= 13 * lattice[3]
    assert lattice[6] == 8


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 5, 8])
def test_as_on_the_cpu(kernels: ModuleType, dims: int, closed: bool) -> None:
    """With its vertices in another order."""
    features, values = points(2, dims, 300, np.float64), standard_normal(2, 5, 300)
    lattice = kernels.build(features, closed)
    filter = GaussianFilter(torch.tensor(features), method="closed" if closed else "lattice")
    assert filter.num_vertices == lattice[3]
    expected = filter.filter(torch.tensor(values))
    raw = kernels.filter(values, lattice, False)
    scale = float(expected[0, 0, 0]) / raw[0, 0, 0]  # to the Gaussian sum, an image each
    close(raw[0] * scale, expected[0], 1e-10)


def test_images_of_a_batch_do_not_meet(kernels: ModuleType) -> None:
    features = np.repeat(points(1, 3, 30, np.float64), 5, 0)
    values = standard_normal(5, 2, 30, dtype=np.float64)
    for closed in (False, True):
        together = kernels.filter(values, kernels.build(features, closed), False)
        for k in range(5):
            alone = kernels.filter(
                values[k : k + 1].copy(), kernels.build(features[k : k + 1].copy(), closed), False
            )
            np.testing.assert_array_equal(together[k : k + 1], alone)


def test_build_waits_twice_and_the_filter_never(kernels: ModuleType) -> None:
    features, values = points(1, 5, 50, np.float32), standard_normal(1, 21, 50, dtype=np.float32)
    kernels.take_counters()
    lattice = kernels.build(features, False)
    assert kernels.take_counters()["waits"] == 2
    kernels.filter(values, lattice, False)
    counted = kernels.take_counters()
    assert counted["waits"] == 0
    # Values to rows, splat, what chunks carry, six axes, slice, rows to values.
    assert counted["launches"] == 1 + 2 + 6 + 1 + 1
    assert counted["atomics"] == 0


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("dims", [1, 2, 5, 7])
def test_exact_leaves_out_what_is_far(kernels: ModuleType, dims: int, real: type) -> None:
    features = 3 * points(2, dims, 300, real)
    values = standard_normal(2, 6, 300, dtype=real)
    expected = exact_filter_reference(
        torch.tensor(features).double(), torch.tensor(values).double()
    )
    close(kernels.exact(values, features), expected, TOLERANCE[real])
    close(kernels.exact(values, features, 4.0), expected, 2e-3)


@pytest.mark.parametrize("dims", [1, 2, 5, 7])
def test_gradient_in_the_features(kernels: ModuleType, dims: int) -> None:
    features = torch.tensor(points(2, dims, 40, np.float64), requires_grad=True)
    for channels in (1, 5, 9):
        values = standard_normal(2, channels, 40, dtype=np.float64)
        grad = standard_normal(2, channels, 40, dtype=np.float64, seed=9)
        out = exact_filter_reference(features, torch.tensor(values))
        (expected,) = torch.autograd.grad(out, features, torch.tensor(grad))
        plain = features.detach().numpy()
        close(kernels.exact(values, plain, 0.0, grad), expected, 1e-10)
        for closed in (False, True):
            out = lattice_filter_reference(features, torch.tensor(values), closed=closed)
            (expected,) = torch.autograd.grad(out, features, torch.tensor(grad))
            lattice = kernels.build(plain, closed)
            close(kernels.filter_gradient(grad, values, plain, lattice), expected, 1e-9)


# --- the mean field -------------------------------------------------------------------------------


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("normalization", range(4))
@pytest.mark.parametrize("closed", [False, True])
def test_mean_field(kernels: ModuleType, closed: bool, normalization: int, real: type) -> None:
    size, labels = (9, 13), 5
    pairwise = [
        Bilateral(colours(2, size, real), closed, normalization, -4 * np.eye(labels)),
        Grid(1.0, 1.7, 1.0, normalization, cost_matrix(labels)),
    ]
    unary = energies(2, labels, size, real)
    found, history = kernels.mean_field(
        unary, [k.given(kernels, real) for k in pairwise], 3, keep=True
    )
    expected = mean_field_by_torch(unary, pairwise, 3)
    tolerance = 50 * TOLERANCE[real]
    close(found, expected[-1], tolerance)
    close(history, torch.stack(expected[:-1]), tolerance)


@pytest.mark.parametrize("labels", [1, 2, 3, 4, 5, 21, 33, 127, 129, 150, 257, 600])
def test_labels(kernels: ModuleType, labels: int) -> None:
    size = (3, 5) if labels > 50 else (5, 7)
    for cost in (-2 * np.eye(labels), np.diag(np.linspace(-3, 1, labels)), cost_matrix(labels)):
        pairwise = [Bilateral(colours(1, size, np.float64), False, 3, cost), Grid(1, 1, 1, 3, cost)]
        unary = energies(1, labels, size, np.float64)
        found, _ = kernels.mean_field(unary, [k.given(kernels, np.float64) for k in pairwise], 2)
        close(found, mean_field_by_torch(unary, pairwise, 2)[-1], 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_of_the_mean_field(kernels: ModuleType, schedule: str) -> None:
    size, labels = (7, 10), 6
    pairwise = [
        Bilateral(colours(1, size, np.float32), False, 3, cost_matrix(labels)),
        Grid(2.0, 1.0, 1.0, 3, -3 * np.eye(labels)),
    ]
    unary = energies(1, labels, size, np.float32)
    given = [k.given(kernels, np.float32) for k in pairwise]
    expected, _ = kernels.mean_field(unary, given, 3)
    kernels.set_schedule(schedule, 11)
    found, _ = kernels.mean_field(unary, given, 3)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 31), (33, 2), (8, 32), (7, 33)])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0, 100.0])
def test_grid_against_its_definition(
    kernels: ModuleType, size: tuple[int, int], sigma: float
) -> None:
    pairwise = [Grid(sigma, 0.5 * sigma, 0.3, n, -np.eye(3)) for n in range(4)]
    unary = energies(2, 3, size, np.float64)
    found, _ = kernels.mean_field(unary, [k.given(kernels, np.float64) for k in pairwise], 2)
    close(found, mean_field_by_torch(unary, pairwise, 2)[-1], 1e-10)


def test_an_iteration_launches_as_designed(kernels: ModuleType) -> None:
    size = (6, 8)
    pairwise = [
        Bilateral(colours(1, size, np.float32), False, 3, -4 * np.eye(21)),
        Grid(1.0, 1.0, 1.0, 3, -3 * np.eye(21)),
    ]
    unary = energies(1, 21, size, np.float32)
    given = [k.given(kernels, np.float32) for k in pairwise]
    launches = []
    for iterations in (1, 4):
        kernels.take_counters()
        kernels.mean_field(unary, given, iterations)
        counted = kernels.take_counters()
        assert counted["waits"] == 0
        assert counted["atomics"] == 0
        launches.append(counted["launches"])
    # Splat, what chunks carry, six axes; along x; the update.
    assert launches[1] - launches[0] == 3 * (8 + 1 + 1)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("closed", [False, True])
def test_images_as_on_the_cpu(kernels: ModuleType, closed: bool, real: type) -> None:
    """The operator of dense_crf, whole: its CPU kernels halve storage, but not in float64."""
    size, labels = (11, 14), 4
    unary, image = energies(2, labels, size, real), colours(2, size, real)
    sigmas, weights = np.array([5, 20, 1.2], real), np.array([4, 3], real)
    for normalization, cost in itertools.product((0, 3), (-np.eye(labels), cost_matrix(labels))):
        cost = cost.astype(real)
        kernels.take_counters()
        found = kernels.image_crf(unary, image, sigmas, weights, cost, 4, normalization, closed)
        assert kernels.take_counters()["waits"] == 3 + closed
        arrays = (unary, image, sigmas[None], weights[None], cost[None])
        expected = torch.ops.pyfast.dense_crf(
            *map(torch.tensor, arrays), 4, normalization, int(closed)
        )
        close(found, expected, 5e-3 if real is np.float32 else 1e-9)


def test_start_and_no_iterations(kernels: ModuleType) -> None:
    size = (4, 6)
    unary = energies(2, 3, size, np.float64)
    found, _ = kernels.mean_field(unary, [], 0)
    close(found, torch.softmax(-torch.tensor(unary), 1), 1e-12)
    start = np.random.default_rng(0).dirichlet(np.ones(3), (2, *size))
    start = np.ascontiguousarray(np.moveaxis(start, -1, 1))
    found, _ = kernels.mean_field(unary, [], 0, start)
    np.testing.assert_array_equal(found, start)
    pairwise = [Bilateral(colours(2, size, np.float64), False, 3, -4 * np.eye(3))]
    given = [k.given(kernels, np.float64) for k in pairwise]
    once, _ = kernels.mean_field(unary, given, 1, start)
    twice, _ = kernels.mean_field(unary, given, 1, once)
    both, _ = kernels.mean_field(unary, given, 2, start)
    np.testing.assert_array_equal(twice, both)


def test_a_bad_pixel_spoils_no_other(kernels: ModuleType) -> None:
    size = (5, 6)
    pairwise = [
        Bilateral(colours(1, size, np.float32), False, 3, -4 * np.eye(3)),
        Grid(1.0, 1.0, 1.0, 3, -3 * np.eye(3)),
    ]
    given = [k.given(kernels, np.float32) for k in pairwise]
    unknown = energies(1, 3, size, np.float32)
    unknown[0, :, 2, 3] = 0
    expected, _ = kernels.mean_field(unknown, given, 2)
    for bad in (np.nan, [np.nan, 1, 2], np.inf):
        unary = unknown.copy()
        unary[0, :, 2, 3] = bad
        found, _ = kernels.mean_field(unary, given, 2)
        np.testing.assert_array_equal(found, expected)
    unary[0, :, 2, 3] = [np.inf, 0, 0]  # one label is impossible
    found, _ = kernels.mean_field(unary, given, 2)
    assert found[0, 0, 2, 3] == 0
    assert np.isfinite(found).all()


# --- what cannot be done --------------------------------------------------------------------------


def test_features_that_have_no_place(kernels: ModuleType) -> None:
    not_finite, too_far = "LatticeError 1", "LatticeError 2"
    values = standard_normal(1, 2, 20, dtype=np.float32)
    for bad, message in ((np.nan, not_finite), (-np.inf, not_finite), (1e30, too_far)):
        features = points(1, 3, 20, np.float32)
        features[0, 1, 7] = bad
        for call in (lambda f: kernels.build(f, False), lambda f: kernels.exact(values, f)):
            with pytest.raises(ValueError, match=message):
                call(features)


def test_without_memory(kernels: ModuleType) -> None:
    features = points(1, 3, 20, np.float32)
    for closed, enough in ((False, 13), (True, 25)):
        for blocks in range(enough):
            with pytest.raises(MemoryError):
                kernels.build(features, closed, blocks)
        kernels.build(features, closed, 2 * enough)


@pytest.mark.parametrize(
    "shape", [(0, 3, 2, 4, 4), (1, 3, 0, 4, 4), (1, 3, 2, 0, 4), (1, 3, 2, 4, 0)]
)
def test_empty(kernels: ModuleType, shape: tuple[int, ...]) -> None:
    images, dims, channels, height, width = shape
    count = height * width
    features = np.zeros((images, dims, count), np.float32)
    values = np.zeros((images, channels, count), np.float32)
    lattice = kernels.build(features, False)
    assert kernels.filter(values, lattice, False).shape == values.shape
    assert kernels.exact(values, features).shape == values.shape
    assert (kernels.exact(values, features, 0.0, values) == 0).all()
    assert (kernels.filter_gradient(values, values, features, lattice) == 0).all()
    unary = values.reshape(images, channels, height, width)
    given = [kernels.KernelFloat32(lattice, 0, 0, 1, 3, np.eye(channels, dtype=np.float32))]
    assert kernels.mean_field(unary, given, 2)[0].shape == unary.shape


def test_a_photograph(kernels: ModuleType) -> None:
    """Sizes and sigmas as they are used, on a small crop."""
    image = photo((24, 32))
    pairwise = [
        Bilateral(image, False, 3, -4 * np.eye(21), (67, 3)),
        Grid(1.0, 1.0, 1.0, 3, -3 * np.eye(21)),
    ]
    unary = energies(1, 21, (24, 32), np.float32)
    given = [k.given(kernels, np.float32) for k in pairwise]
    found, _ = kernels.mean_field(unary, given, 5)
    expected = mean_field_by_torch(unary, pairwise, 5)[-1]
    assert np.abs(found - expected.numpy()).mean() <= 1e-5
    close(found.sum(1), np.ones((1, 24, 32)), 1e-6)


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="is the run under the sanitizers")
def test_under_sanitizers() -> None:
    chosen = (
        "stable or scan or numbers or vertex or far or gradient or grid or bad or memory or empty"
    )
    run_sanitized(KERNELS, [Path(__file__)], chosen)
