"""The solver's CUDA kernels, run on the host, against direct solutions."""

from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from matting_cases import EPSILON, SCHEDULES, matrix_of, picture
from simt_build import SANITIZED

import pyfast  # noqa: F401  (registers the operators)

KERNELS = "simt_matting"
SIZES = [(7, 9), (8, 16)] + ([] if SANITIZED else [(13, 31), (33, 45)])
FOR_EVER = -1


@dataclass
class System:
    """(L + diag) x = rhs where not known; x is held where known."""

    image: np.ndarray  # (B, D, H, W)
    known: np.ndarray  # (B, H, W) of uint8
    x: np.ndarray  # (B, K, H, W)
    diagonal: np.ndarray | None = None
    rhs: np.ndarray | None = None
    radius: int = 1
    tolerance: float = 1e-9
    most: int = 300
    reports: list[tuple[int, float, bool]] = field(default_factory=list)

    def solve(self, kernels: ModuleType, stop_after: int = FOR_EVER) -> np.ndarray:
        x = self.x.copy()
        known = self.known if self.known.any() else None
        error, self.reports = kernels.solve(
            self.image, x.shape[1], known, self.diagonal, self.rhs, x, EPSILON, self.radius,
            self.tolerance, self.most, stop_after,
        )  # fmt: skip
        assert error == 0
        return x

    def solution(self, kernels: ModuleType) -> np.ndarray:
        """By a sparse direct solver."""
        result = self.x.copy()
        for b, known in enumerate(self.known.reshape(len(self.known), -1) != 0):
            matrix = matrix_of(kernels, self.image[b], radius=self.radius)
            if self.diagonal is not None:
                matrix = matrix + scipy.sparse.diags(self.diagonal[b].ravel())
            rows = matrix.tocsr()[~known]
            factors = scipy.sparse.linalg.splu(rows[:, ~known].tocsc())
            for k in range(result.shape[1]):
                values = result[b, k].reshape(-1)
                right = 0 if self.rhs is None else self.rhs[b, k].ravel()[~known]
                values[~known] = factors.solve(right - rows[:, known] @ values[known])
        return result

    def check(self, kernels: ModuleType, atol: float = 1e-6) -> np.ndarray:
        found = self.solve(kernels)
        assert all(converged for _, _, converged in self.reports)
        assert all(residual <= self.tolerance for _, residual, _ in self.reports)
        np.testing.assert_allclose(found, self.solution(kernels), atol=atol)
        return found


def marks(batch: int, height: int, width: int) -> np.ndarray:
    """Known pixels: two bars, not of the same length in every image."""
    known = np.zeros((batch, height, width), np.uint8)
    for b in range(batch):
        known[b, 1 : height // 3, 1 : width - 2 - b] = 1
        known[b, 2 * height // 3 + 1 :, b : width // 2] = 1
    return known


def system(
    size: tuple[int, int], batch: int = 1, channels: int = 3, vectors: int = 1, radius: int = 1
) -> System:
    known = marks(batch, *size)
    x = np.zeros((batch, vectors, *size))
    x[:, :, : size[0] // 2] = np.arange(1, vectors + 1)[:, None, None]
    x *= known[:, None]
    return System(picture(batch, channels, *size), known, x, radius=radius)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("size", SIZES)
def test_solve_at_edges(kernels: ModuleType, size: tuple[int, int], schedule: str) -> None:
    kernels.set_schedule(schedule, 5)
    system(size, batch=2, vectors=2).check(kernels)


@pytest.mark.parametrize(("channels", "radius"), [(1, 1), (2, 1), (4, 1), (3, 2), (1, 3)])
def test_solve_of_other_channels_and_radii(kernels: ModuleType, channels: int, radius: int) -> None:
    system((17 + 4 * radius, 29), channels=channels, radius=radius).check(kernels)


def test_solve_with_levels(kernels: ModuleType) -> None:
    case = system((33, 45) if SANITIZED else (125, 165))
    case.check(kernels)
    assert case.reports[0][0] <= 40


def test_the_solver_of_the_cpu_agrees(kernels: ModuleType) -> None:
    case = system((33, 45), batch=2, vectors=2)
    case.tolerance = 1e-10
    zeros = torch.zeros(2, 33, 45, dtype=torch.float64)
    x, image = torch.tensor(case.x), torch.tensor(case.image)
    expected, reports = torch.ops.pyfast.matting_solve(
        torch.zeros_like(x), x, image, zeros, torch.tensor(case.known), EPSILON, 1, 1e-10, 300
    )
    np.testing.assert_allclose(case.check(kernels), expected, atol=1e-7)
    for ours, theirs in zip(case.reports, reports.flatten(0, 1).tolist(), strict=True):
        assert ours[0] <= 1.5 * theirs[0]


def test_solve_in_general(kernels: ModuleType) -> None:
    """A diagonal and right-hand sides, with known pixels and with none."""
    random = np.random.default_rng(3)
    case = system((19, 26), batch=2, vectors=2)
    case.diagonal = random.uniform(0, 2, (2, 19, 26)) * (random.uniform(size=(2, 19, 26)) < 0.3)
    case.rhs = random.standard_normal((2, 2, 19, 26))
    case.check(kernels)
    case.known[:] = 0
    case.check(kernels)


def test_a_singular_system(kernels: ModuleType) -> None:
    """Nothing is known: solutions differ by a constant."""
    case = system((33, 45))
    case.known[:] = 0
    case.x[:] = 0
    case.rhs = np.random.default_rng(3).standard_normal((1, 1, 33, 45))
    case.rhs -= case.rhs.mean()
    found = case.solve(kernels)
    assert case.reports[0][2]
    matrix = matrix_of(kernels, case.image[0]).toarray()
    expected = np.linalg.solve(matrix + 1 / matrix.shape[0], case.rhs.ravel())
    scale = np.abs(expected).max()
    np.testing.assert_allclose((found - found.mean()).ravel() / scale, expected / scale, atol=1e-6)


def test_a_system_with_no_known_pixel_in_one_image_alone(kernels: ModuleType) -> None:
    case = system((14, 15), batch=3)
    case.known[1] = 1  # nothing to solve
    case.x[1] = 0.25
    found = case.check(kernels)
    assert (found[1] == 0.25).all()
    assert case.reports[1] == (0, 0.0, True)
    case.known[:] = 1
    assert np.array_equal(case.solve(kernels), case.x)


def test_one_unknown_pixel(kernels: ModuleType) -> None:
    case = system((9, 9))
    case.known[:] = 1
    case.known[0, 4, 4] = 0
    case.check(kernels)
    assert case.reports[0][0] <= 3


@pytest.mark.parametrize("kind", ["grey", "black and white", "flat", "dark", "burnt"])
def test_pictures_that_make_blocks_singular(kernels: ModuleType, kind: str) -> None:
    case = system((40, 47))
    grey = np.repeat(case.image[:, :1], 3, 1)
    case.image = np.ascontiguousarray(
        {
            "grey": grey,
            "black and white": np.round(grey),
            "flat": np.full_like(grey, 0.5),
            "dark": case.image * 0.02,
            "burnt": np.minimum(case.image * 2, 1),
        }[kind]
    )
    case.known[:] = 0  # but for two pixels
    case.known[0, 3, 5] = case.known[0, 30, 40] = 1
    case.x[:] = 0
    case.x[0, 0, 3, 5] = 1
    case.check(kernels, atol=1e-5)
    case.tolerance = 1e-7
    case.check(kernels, atol=1e-2)
    assert case.reports[0][0] <= 120


def test_the_same_bits_in_every_order_and_batch(kernels: ModuleType) -> None:
    case = system((21, 34), batch=2)
    results = []
    for schedule in SCHEDULES:
        kernels.set_schedule(schedule, 3)
        results.append(case.solve(kernels))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_a_first_guess_and_the_solution(kernels: ModuleType) -> None:
    case = system((20, 30))
    solution = case.solve(kernels)
    iterations = case.reports[0][0]
    case.tolerance = 1e-7
    case.x = solution
    assert np.array_equal(case.solve(kernels), solution)
    assert case.reports[0][0] == 0
    case.x = solution + 1e-4 * (case.known[:, None] == 0)
    case.check(kernels, atol=1e-5)
    assert 0 < case.reports[0][0] < iterations


def test_right_hand_sides_of_zero(kernels: ModuleType) -> None:
    case = system((12, 13))
    case.x[:] = 0
    assert (case.solve(kernels) == 0).all()
    assert case.reports == [(0, 0.0, True)]
    case.x[:] = (case.known[:, None] == 0) * 0.5  # the guess has to go
    case.check(kernels)


def test_stops(kernels: ModuleType) -> None:
    """At the most iterations, and when asked to; the iterate is kept and reported on."""
    case = system((20, 30))
    solution = case.solution(kernels)
    case.most = 5
    found = case.solve(kernels)
    assert case.reports[0][0] == 5
    assert not case.reports[0][2]
    assert 0 < case.reports[0][1] < 1
    assert np.abs(found - solution).max() < np.abs(case.x - solution).max()
    case.most = 0
    assert np.array_equal(case.solve(kernels), case.x)
    case.most = 300
    case.solve(kernels, stop_after=6)
    assert case.reports[0][0] == 6
    case.image[0, 1, 10, 10] = np.nan
    case.solve(kernels)
    assert not case.reports[0][2]


def test_counts(kernels: ModuleType) -> None:
    """The same launches in every iteration, the host waits every four, and nothing is atomic."""
    sizes = [((13, 31), 0), ((33, 45), 1), ((61, 83), 2), ((125, 165), 3)]
    for size, levels in sizes[:2] if SANITIZED else sizes:
        counted = []
        for most in (4, 8):
            case = system(size)
            case.tolerance, case.most = 0, most
            kernels.take_counters()
            case.solve(kernels)
            counted.append(kernels.take_counters())
        # Two more cycles of the last level and the bottom, sums, and what is left.
        repeated = 2 * 5 + 3 + 2 if levels > 2 else 0
        of_iteration, of_setup = 10 + 4 * levels + repeated, 22 + 10 * levels + repeated
        assert counted[1]["launches"] - counted[0]["launches"] == 4 * of_iteration + 1
        assert counted[0]["launches"] == of_setup + 4 * of_iteration
        assert counted[0]["waits"] == 4
        assert counted[1]["waits"] == 5
        assert counted[0]["atomics"] == 0


def test_what_is_too_large_is_refused(kernels: ModuleType) -> None:
    image, known = np.zeros((1, 8, 5, 5)), np.zeros((1, 5, 5), np.uint8)
    x = np.zeros((1, 1, 5, 5))
    most_channels_error, _ = kernels.solve(
        image, 1, known, None, None, x, EPSILON, 1, 1e-7, 10, FOR_EVER
    )
    assert most_channels_error == 1
