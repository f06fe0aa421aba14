"""Every CUDA kernel of the sampling family, run on the host and compared with torch."""

import importlib.util
import itertools
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from simt_build import build, sanitizer_environment

MODES = ["bilinear", "nearest"]
PADDINGS = ["zeros", "border", "reflection"]
SCHEDULES = ["forward", "reverse", "random"]
pytestmark = pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
SANITIZED = "PYFAST_SIMT_SANITIZED" in os.environ  # set in the child that runs under ASan


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    path = build("simt_sampling", module=True, sanitize=SANITIZED)
    spec = importlib.util.spec_from_file_location("simt_sampling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def forward_schedule(kernels: ModuleType) -> Iterator[None]:
    kernels.set_schedule("forward")
    kernels.take_counters()
    yield
    kernels.set_schedule("forward")


def contiguous(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C")


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.array(array.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)


def strided(array: np.ndarray) -> np.ndarray:
    n, c, h, w = array.shape
    larger = np.full((n, c + 1, 2 * h + 1, w + 3), np.nan, array.dtype)
    result = larger[:, 1:, 1::2, 2 : 2 + w]
    result[...] = array
    return result


def reversed_axes(array: np.ndarray) -> np.ndarray:
    result = np.array(array[:, ::-1, ::-1, ::-1], order="C")[:, ::-1, ::-1, ::-1]
    assert np.array_equal(result, array, equal_nan=True)
    return result


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": contiguous,
    "channels_last": channels_last,
    "strided": strided,
    "reversed": reversed_axes,
}


@dataclass
class Results:
    output: np.ndarray
    grad_input: np.ndarray
    grad_where: np.ndarray  # of theta or grid


@dataclass
class Case:
    """One call: arrays, options, and how to do it with torch and with the kernels."""

    input: np.ndarray
    where: np.ndarray  # theta (N, 2, 3) or grid (N, H, W, 2)
    size: tuple[int, int]
    mode: str = "bilinear"
    padding: str = "zeros"
    align_corners: bool = False
    layout: str = "contiguous"

    def __post_init__(self) -> None:
        shape = (len(self.where), self.input.shape[1], *self.size)
        values = np.random.default_rng(5).standard_normal(shape)
        self.grad_output = values.astype(self.input.dtype)

    @property
    def affine(self) -> bool:
        return self.where.ndim == 3

    def by_torch(self, dtype: torch.dtype = torch.float64) -> Results:
        input = torch.tensor(self.input).to(dtype).requires_grad_()
        where = torch.tensor(self.where).to(dtype).requires_grad_()
        n, c = len(where), input.shape[1]
        grid = where
        if self.affine:
            grid = F.affine_grid(where, [n, c, *self.size], align_corners=self.align_corners)
        output = F.grid_sample(
            input.expand(n, -1, -1, -1), grid, self.mode, self.padding, self.align_corners
        )
        grads = torch.autograd.grad(
            output, [input, where], torch.tensor(self.grad_output).to(dtype)
        )
        return Results(output.detach().numpy(), *(g.numpy() for g in grads))

    def by_kernels(self, kernels: ModuleType) -> Results:
        place = LAYOUTS[self.layout]
        options = kernels.Options(self.mode, self.padding, self.align_corners)
        name = "theta" if self.affine else "grid"
        where = contiguous(self.where)
        if not self.affine and self.layout != "contiguous":
            where = LAYOUTS["strided"](where)
        input = place(self.input)
        output = place(np.full_like(self.grad_output, np.nan))
        grad_input = place(np.full_like(self.input, np.nan))
        grad_where = np.full_like(self.where, np.nan)
        assert kernels.forward(input, output, options=options, **{name: where}) == 0
        error = kernels.backward(
            place(self.grad_output),
            input,
            options=options,
            grad_input=grad_input,
            **{name: where, f"grad_{name}": grad_where},
        )
        assert error == 0
        return Results(output, grad_input, grad_where)

    def check(self, kernels: ModuleType) -> None:
        found, expected = self.by_kernels(kernels), self.by_torch()
        tolerance = 1e-10 if self.input.dtype == np.float64 else 2e-4
        for name in ("output", "grad_input", "grad_where"):
            have, want = getattr(found, name), getattr(expected, name)
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(
                have, want, rtol=0, atol=tolerance * scale, err_msg=f"{name} of {self}"
            )


def image(*shape: int, dtype: type = np.float64, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def thetas(
    count: int, *, scale: float = 1.0, dtype: type = np.float64, seed: int = 2
) -> np.ndarray:
    """Rotations, scalings, shears and shifts, some far enough to leave the image."""
    random = np.random.default_rng(seed)
    linear = scale * (np.eye(2) + 0.6 * random.standard_normal((count, 2, 2)))
    return np.concatenate([linear, 0.7 * random.standard_normal((count, 2, 1))], 2).astype(dtype)


def grids(count: int, h: int, w: int, *, dtype: type = np.float64, seed: int = 3) -> np.ndarray:
    return (1.3 * np.random.default_rng(seed).standard_normal((count, h, w, 2))).astype(dtype)


EVERY_OPTION = list(itertools.product(MODES, PADDINGS, [False, True]))
with_every_option = pytest.mark.parametrize(("mode", "padding", "align"), EVERY_OPTION)


@pytest.mark.parametrize("layout", LAYOUTS)
@with_every_option
def test_options_and_layouts(
    kernels: ModuleType, mode: str, padding: str, align: bool, layout: str
) -> None:
    for dtype in (np.float64, np.float32):
        input = image(2, 5, 7, 9, dtype=dtype)
        for where in (thetas(2, dtype=dtype), grids(2, 6, 10, dtype=dtype)):
            Case(input, where, (6, 10), mode, padding, align, layout).check(kernels)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_schedules(kernels: ModuleType, schedule: str, layout: str) -> None:
    for seed, padding in enumerate(PADDINGS):
        kernels.set_schedule(schedule, seed)
        for channels in (1, 12):
            input = image(2, channels, 9, 34)
            Case(input, thetas(2), (8, 33), "bilinear", padding, False, layout).check(kernels)
            Case(input, grids(2, 8, 33), (8, 33), "bilinear", padding, True, layout).check(kernels)


# A tile is 32 x 4 pixels, narrower and taller for narrow images.
SIZES = [(1, 1), (1, 40), (40, 1), (3, 31), (4, 32), (5, 33), (9, 8), (8, 17), (13, 67)]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_sizes_around_tiles(kernels: ModuleType, padding: str, layout: str) -> None:
    for (in_size, out_size), align in itertools.product(
        zip(SIZES, SIZES[3:] + SIZES[:3], strict=True), [False, True]
    ):
        input = image(1, 3, *in_size)
        Case(input, thetas(1), out_size, "bilinear", padding, align, layout).check(kernels)
        Case(input, thetas(1, scale=0.4), out_size, "nearest", padding, align).check(kernels)
        Case(input, grids(1, *out_size), out_size, "bilinear", padding, align).check(kernels)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_several_tiles_a_block(kernels: ModuleType, layout: str) -> None:
    for channels, inputs, padding in ((1, 2, "border"), (3, 1, "zeros"), (8, 2, "reflection")):
        input, where = image(inputs, channels, 61, 35), thetas(2)
        Case(input, where, (37, 70), "bilinear", padding, layout=layout).check(kernels)
        many = thetas(9, scale=0.5)
        if inputs == 1:
            Case(input, many, (5, 7), "bilinear", padding, layout=layout).check(kernels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels(kernels: ModuleType, layout: str) -> None:
    """Around the vectors, the groups of a thread and the threads that share a pixel."""
    for channels, dtype in itertools.product(
        (1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 36, 70, 132, 260), (np.float32, np.float64)
    ):
        input = image(2, channels, 4, 5, dtype=dtype)
        for where in (thetas(2, dtype=dtype), grids(2, 5, 3, dtype=dtype)):
            Case(input, where, (5, 3), layout=layout).check(kernels)


def test_vectors_need_aligned_memory(kernels: ModuleType) -> None:
    """Channels side by side, but the first of them not at a multiple of 16 bytes."""
    for offset, stride in ((1, 12), (4, 13)):
        case = Case(image(1, 8, 5, 6, dtype=np.float32), thetas(1, dtype=np.float32), (4, 7))

        def place(array: np.ndarray, offset: int = offset, stride: int = stride) -> np.ndarray:
            n, c, h, w = array.shape
            larger = np.full(n * h * w * stride + offset, np.nan, array.dtype)
            pixels = larger[offset:].reshape(n, h, w, stride)[..., :c]
            pixels[...] = array.transpose(0, 2, 3, 1)
            return pixels.transpose(0, 3, 1, 2)

        case.layout = "unaligned"
        LAYOUTS["unaligned"] = place
        try:
            case.check(kernels)
        finally:
            del LAYOUTS["unaligned"]


# Uneven numbers: where a sample meets a pixel exactly, its derivative jumps and rounding decides.
SINGULAR = {
    "point": [[0, 0, 0.1307], [0, 0, -0.2111]],
    "point outside": [[0, 0, 1.7], [0, 0, -0.2111]],
    "line along x": [[0.9173, 0, 0.1019], [0, 0, 0.2311]],
    "line along y": [[0, 0, 0.1019], [0, 0.8117, 0.2311]],
    "slanted line": [[0.6137, 0.3049, 0.0213], [1.2274, 0.6098, -0.1117]],
    "rows fall together": [[0, 0.7151, 0.0213], [0, -0.6131, -0.1117]],
    "almost a line": [[0.6137, 0.3049, 0.0213], [1.2274, 0.6098 + 1e-9, -0.1117]],
    "quarter turn": [[1e-17, -0.9319, 0.0719], [0.9137, 1e-17, 0.0421]],
    "mirror": [[-0.9731, 0, 0.0317], [0, -1.0337, 0.0119]],
    "far out": [[30.3171, 4.1193, 0.3071], [-7.7191, 25.1367, 0.2093]],
    "far in": [[0.0313, 0.0041, 0.3517], [-0.0073, 0.0251, 0.2119]],
    "far away": [[0.9173, 0.1091, 50.3119], [-0.2131, 1.1173, -40.7317]],
    "thin": [[1e-4, 0.9173, 0.0119], [0.8117, 1e-5, 0.0213]],
}


@pytest.mark.parametrize("theta", SINGULAR.values(), ids=SINGULAR.keys())
@pytest.mark.parametrize("padding", PADDINGS)
def test_unusual_maps(kernels: ModuleType, theta: list[list[float]], padding: str) -> None:
    for dtype, mode, align in itertools.product((np.float64, np.float32), MODES, (False, True)):
        input = image(1, 2, 11, 12, dtype=dtype)
        case = Case(input, np.array([theta], dtype), (10, 13), mode, padding, align)
        if dtype == np.float64:
            case.check(kernels)
        else:  # positions close to a kink may fall on either side of it: compare what is smooth
            found, expected = case.by_kernels(kernels), case.by_torch()
            if mode == "bilinear":
                scale = 1 + np.abs(expected.grad_input).max()
                np.testing.assert_allclose(found.output, expected.output, atol=2e-4)
                np.testing.assert_allclose(
                    found.grad_input, expected.grad_input, atol=1e-3 * scale, rtol=0
                )
            weight = case.by_torch().grad_input.sum()
            assert found.grad_input.sum() == pytest.approx(weight, abs=1e-2 * (1 + abs(weight)))


def test_more_folds_than_are_searched(kernels: ModuleType) -> None:
    for mode, align in itertools.product(MODES, (False, True)):
        input = image(1, 2, 3, 4)
        theta = np.array([[[40.3171, 3.0193, 0.2071], [5.0391, 60.1267, 0.1093]]])
        Case(input, theta, (6, 7), mode, "reflection", align).check(kernels)
        pair = np.concatenate([theta, thetas(1)])
        Case(input, pair, (6, 7), mode, "reflection", align).check(kernels)


@pytest.mark.parametrize("count", [1, 3, 8, 9, 130])
def test_one_input_for_many_maps(kernels: ModuleType, count: int) -> None:
    for padding in PADDINGS:
        Case(image(1, 2, 6, 5), thetas(count), (4, 5), "bilinear", padding).check(kernels)
    Case(image(1, 2, 6, 5), grids(count, 4, 5), (4, 5)).check(kernels)


SPECIAL = [np.nan, np.inf, -np.inf, 3e38, -1e35, 1e20, 1e12]


@with_every_option
def test_thetas_that_are_not_moderate(
    kernels: ModuleType, mode: str, padding: str, align: bool
) -> None:
    """NaN takes position 0, except with zeros, where it gives NaN (nearest: 0)."""
    size, dtype = (5, 6), np.float32
    for row, column, value in itertools.product(range(2), range(3), SPECIAL):
        theta = np.array([[[0.83, 0.2, 0.1], [-0.3, 0.78, -0.2]]], dtype)
        theta[0, row, column] = value
        if padding == "reflection" and np.isfinite(value):
            continue  # the remainder of so large a position is noise
        case = Case(image(1, 2, 5, 7, dtype=dtype), theta, size, mode, padding, align)
        found = case.by_kernels(kernels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            identity = torch.eye(2, 3, dtype=torch.float64)[None]
            base = F.affine_grid(identity, [1, 2, *size], align_corners=align).numpy()
            # As in single precision, but for what overflows there.
            grid = np.where(theta[0, :, :2] == 0, 0, base[..., None, :] * theta[0, :, :2]).sum(-1)
            grid = (grid + theta[0, :, 2]).astype(dtype).astype(np.float64)
        lost = np.isnan(grid) | (np.isinf(grid) if padding == "reflection" else False)
        first = 0 if align else 1 - 1 / np.array([7.0, 5.0])
        grid = np.where(lost, 1e6 if padding == "zeros" else -1 if align else -first, grid)
        case.where = np.clip(grid, -1e6, 1e6)
        expected = case.by_torch()
        output = expected.output
        if padding == "zeros" and mode == "bilinear":
            output = np.where(lost.any(-1)[:, None], np.nan, output)
        np.testing.assert_allclose(found.output, output, atol=1e-3, err_msg=str(theta))
        np.testing.assert_allclose(found.grad_input, expected.grad_input, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_grids_that_are_not_finite(kernels: ModuleType, mode: str, padding: str) -> None:
    for dtype, align in itertools.product((np.float32, np.float64), (False, True)):
        grid = grids(1, 6, 7, dtype=dtype)
        grid[0, 0] = np.nan
        grid[0, 1, :, 0] = np.inf
        grid[0, 2, :, 1] = -np.inf
        grid[0, 3, :, 0] = 3e38
        grid[0, 4, :, 1] = -3e38
        ordinary = Case(image(1, 2, 5, 4, dtype=dtype), grid, (6, 7), mode, padding, align)
        found = ordinary.by_kernels(kernels)
        assert np.isnan(found.output[:, :, 0]).all() == (mode == "bilinear" and padding == "zeros")
        if padding == "zeros":
            assert (found.output[:, :, 1:5] == 0).all()
        last = Case(image(1, 2, 5, 4, dtype=dtype), grid[:, 5:], (1, 7), mode, padding, align)
        np.testing.assert_allclose(found.output[:, :, 5:], last.by_torch().output, atol=1e-4)
        assert np.isfinite(found.grad_input).all()


def test_pixels_outside_do_not_count(kernels: ModuleType) -> None:
    """No pixel that is merely near in memory may bring its NaN into a sample outside."""
    grid = np.zeros((1, 1, 3, 2))
    grid[0, 0, :, 0] = [-5, 5, 1 + 0.5 / 4]  # the last is 3/4 pixel beyond the last column
    case = Case(np.full((1, 1, 4, 4), np.nan), grid, (1, 3))
    assert np.array_equal(case.by_kernels(kernels).output[0, 0, 0], [0, 0, np.nan], equal_nan=True)
    case.input[..., 3] = 2.0
    found = case.by_kernels(kernels).output[0, 0, 0]
    np.testing.assert_allclose(found, case.by_torch().output[0, 0, 0])
    assert found[2] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3), (2, 2, 0, 3), (2, 2, 3, 0)])
def test_empty(kernels: ModuleType, shape: tuple[int, int, int, int]) -> None:
    n, c, h, w = shape
    for where, inputs in ((thetas(n), n), (grids(n, h, w), n), (thetas(n), 1)):
        case = Case(image(inputs, c, 4, 5), where, (h, w))
        found = case.by_kernels(kernels)  # an empty launch would be an error
        assert found.output.shape == shape
        assert (found.grad_input == 0).all()
        assert (found.grad_where == 0).all()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_affine_grid(kernels: ModuleType, align: bool, schedule: str) -> None:
    kernels.set_schedule(schedule)
    for (h, w), dtype in itertools.product([*SIZES, (0, 3), (3, 0)], (np.float32, np.float64)):
        theta = thetas(3, dtype=dtype)
        grid = np.full((3, h, w, 2), np.nan, dtype)
        assert kernels.affine_grid(theta, grid, align) == 0
        grad_grid = strided(grids(3, h, w, dtype=dtype))
        grad_theta = np.full_like(theta, np.nan)
        assert kernels.affine_grid_backward(grad_grid, grad_theta, align) == 0
        if h * w == 0:
            assert (grad_theta == 0).all()
            continue
        theta_64 = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        expected = F.affine_grid(theta_64, [3, 1, h, w], align_corners=align)
        (expected_grad,) = torch.autograd.grad(
            expected, theta_64, torch.tensor(grad_grid, dtype=torch.float64)
        )
        tolerance = 1e-12 if dtype == np.float64 else 1e-6
        np.testing.assert_allclose(grid, expected.detach().numpy(), atol=4 * tolerance)
        scale = 1 + h * w
        np.testing.assert_allclose(grad_theta, expected_grad.numpy(), atol=tolerance * scale)


def test_counts(kernels: ModuleType) -> None:
    """What the design promises: launches, and where there is no atomic operation."""
    case = Case(image(2, 3, 9, 40), thetas(2), (8, 33))
    options = kernels.Options(case.mode, case.padding, case.align_corners)
    output = np.empty_like(case.grad_output)
    kernels.forward(case.input, output, theta=case.where, options=options)
    assert kernels.take_counters()["launches"] == 1
    grad_input = np.empty_like(case.input)
    kernels.backward(
        case.grad_output, case.input, theta=case.where, options=options, grad_input=grad_input
    )
    counters = kernels.take_counters()
    assert (counters["launches"], counters["atomics"]) == (1, 0)
    grad_theta = np.empty_like(case.where)
    kernels.backward(
        case.grad_output, case.input, theta=case.where, options=options, grad_theta=grad_theta
    )
    counters = kernels.take_counters()
    assert (counters["launches"], counters["atomics"]) == (2, 0)
    grid = grids(2, 8, 33)
    kernels.backward(
        case.grad_output, case.input, grid=grid, options=options, grad_grid=np.empty_like(grid)
    )
    counters = kernels.take_counters()
    assert (counters["launches"], counters["atomics"]) == (1, 0)
    kernels.backward(
        case.grad_output, case.input, grid=grid, options=options, grad_input=grad_input
    )
    counters = kernels.take_counters()
    assert counters["launches"] == 1
    assert 0 < counters["atomics"] <= 4 * output.size


def test_affine_backward_is_bitwise_the_same_in_every_order(kernels: ModuleType) -> None:
    for padding in PADDINGS:
        case = Case(
            image(1, 3, 9, 40, dtype=np.float32),
            thetas(5, dtype=np.float32),
            (8, 33),
            padding=padding,
        )
        results = []
        for schedule in SCHEDULES:
            kernels.set_schedule(schedule, 3)
            results.append(case.by_kernels(kernels))
        for other in results[1:]:
            assert np.array_equal(results[0].grad_input, other.grad_input)
            assert np.array_equal(results[0].grad_where, other.grad_where)


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="is the run under the sanitizers")
def test_under_sanitizers() -> None:
    build("simt_sampling", module=True, sanitize=True)
    chosen = "sizes or tiles or channels or moderate or finite or empty or aligned or folds or grid"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", __file__]
        + ["-m", "not slow", "-k", chosen],
        env=sanitizer_environment() | {"PYFAST_SIMT_SANITIZED": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]
