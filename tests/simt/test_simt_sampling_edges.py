"""Sampling where it is hard: values that are not finite, maps without an inverse, odd memory."""

import itertools
import mmap
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sampling_cases import (
    EPSILON,
    LAYOUTS,
    MODES,
    PADDINGS,
    SUMS,
    Case,
    flows,
    grids,
    homographies,
    image,
    modes,
    somewhere,
    thetas,
)
from simt_build import SANITIZED, run_sanitized

KERNELS = "simt_sampling"

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
    for dtype, mode, align in itertools.product(("float64", "float32"), MODES, (False, True)):
        case = Case(
            image(1, 2, 11, 12), np.array([theta]), (10, 13), "affine", mode, padding, align
        )
        if dtype == "float64":
            case.check(kernels)
            continue
        # Positions close to a kink may fall on either side of it: compare what is smooth.
        case = Case(case.input, case.where, case.size, "affine", mode, padding, align, dtype=dtype)
        found, expected = case.by_kernels(kernels), case.by_torch()
        if mode != "nearest":
            scale = 1 + np.abs(expected.grad_input).max()
            np.testing.assert_allclose(found.output, expected.output, atol=3e-4)
            np.testing.assert_allclose(
                found.grad_input, expected.grad_input, atol=1e-3 * scale, rtol=0
            )
        weight = expected.grad_input.sum()
        assert found.grad_input.sum() == pytest.approx(weight, abs=1e-2 * (1 + abs(weight)))


def test_more_folds_than_are_searched(kernels: ModuleType) -> None:
    for mode, align in itertools.product(MODES, (False, True)):
        theta = np.array([[[40.3171, 3.0193, 0.2071], [5.0391, 60.1267, 0.1093]]])
        for where in (theta, np.concatenate([theta, thetas(1)])):
            Case(image(1, 2, 3, 4), where, (6, 7), "affine", mode, "reflection", align).check(
                kernels
            )


# --- values that are not finite -----------------------------------------------------------------

SPECIAL = [np.nan, np.inf, -np.inf, 3e38, -1e35, 1e20, 1e12]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_thetas_that_are_not_moderate(
    kernels: ModuleType, mode: str, padding: str, align: bool
) -> None:
    """NaN takes position 0, except with zeros, where it gives NaN (nearest: 0)."""
    size, dtype = (5, 6), np.float32
    for row, column, value in itertools.product(range(2), range(3), SPECIAL):
        if padding == "reflection" and np.isfinite(value):
            continue  # the remainder of so large a position is noise
        theta = np.array([[[0.83, 0.2, 0.1], [-0.3, 0.78, -0.2]]], dtype)
        theta[0, row, column] = value
        input = image(1, 2, 5, 7)
        found = Case(
            input, theta, size, "affine", mode, padding, align, dtype="float32"
        ).by_kernels(kernels)
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
        plain = Case(input, np.clip(grid, -1e6, 1e6), size, "grid", mode, padding, align)
        expected = plain.by_torch()
        output = expected.output
        if padding == "zeros" and mode == "bilinear":
            output = np.where(lost.any(-1)[:, None], np.nan, output)
        np.testing.assert_allclose(found.output, output, atol=1e-3, err_msg=str(theta))
        np.testing.assert_allclose(found.grad_input, expected.grad_input, atol=1e-3)


@pytest.mark.parametrize("source", ["grid", "flow"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), [(d, mode) for d in (2, 3) for mode in modes(d)])
def test_fields_that_are_not_finite(
    kernels: ModuleType, mode: str, padding: str, source: str, dims: int
) -> None:
    in_size, out_size = ((5, 4), (6, 7)) if dims == 2 else ((2, 5, 4), (2, 6, 7))
    huge = 1e30 if mode == "bicubic" else 3e38  # the latter is infinite in pixels
    for dtype, align in itertools.product(("float32", "float64", "float16"), (False, True)):
        where = grids(1, *out_size) if source == "grid" else np.moveaxis(flows(1, *out_size), 1, -1)
        where[..., 0, :, :] = np.nan
        where[..., 1, :, 0] = np.inf
        where[..., 2, :, 1] = -np.inf
        where[..., 3, :, 0] = huge
        where[..., 4, :, 1] = -huge
        rest = where[..., 5:, :, :]
        if source == "flow":
            where, rest = np.moveaxis(where, -1, 1), np.moveaxis(rest, -1, 1)
        input = image(1, 2, *in_size)
        case = Case(input, where, out_size, source, mode, padding, align, dtype=dtype)
        found = case.by_kernels(kernels)
        nan_output = np.isnan(found.output[..., 0, :])
        assert nan_output.all() == (mode == "bicubic" or (mode, padding) == ("bilinear", "zeros"))
        infinite = found.output[..., 1:3, :]
        assert np.isnan(infinite).all() == (mode == "bicubic")
        if padding == "zeros":
            assert (found.output[..., 3:5, :] == 0).all()
            assert mode == "bicubic" or (infinite == 0).all()
        assert np.isfinite(found.output[..., 3:5, :]).all()
        if source == "grid":  # a flow counts from its own place
            plain = Case(
                input, rest, (*out_size[:-2], 1, 7), source, mode, padding, align, dtype=dtype
            )
            rounding = 2 * EPSILON[dtype] * np.abs(input).max()
            expected = plain.by_torch().output
            np.testing.assert_allclose(found.output[..., 5:, :], expected, atol=4e-4 + rounding)
        again, _ = case.backward(kernels, of_where=False, deterministic=True)
        if mode != "bicubic" or padding == "zeros":
            assert np.isfinite(found.grad_input).all()
        np.testing.assert_allclose(again, found.grad_input, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_horizons(kernels: ModuleType, mode: str, padding: str) -> None:
    """Homographies with pixels whose denominator is 0, and with values that are not finite."""
    matrix = np.array([[[0.9137, 0.1319, 0.0719], [-0.1117, 0.8719, 0.0523], [1.0, 0.0, 0.0]]])
    input, size = image(1, 2, 5, 6), (4, 5)
    for dtype in ("float32", "float64"):
        # In the middle column x, and with it the denominator, is 0 exactly.
        case = Case(input, matrix, size, "homography", mode, padding, True, dtype=dtype)
        found = case.by_kernels(kernels)
        middle, sides = found.output[..., 2], [0, 1, 3, 4]
        assert np.isnan(middle).all() == (mode == "bicubic")
        if padding == "zeros":
            assert mode == "bicubic" or (middle == 0).all()
        # Of the other columns alone: torch's own backward crashes at positions of infinity.
        grid = case.grid(torch.tensor(matrix)).numpy()[:, :, sides]
        expected = Case(input, grid, (4, 4), "grid", mode, padding, True).by_torch().output
        np.testing.assert_allclose(found.output[..., sides], expected, atol=1e-3)
        if mode == "bilinear":
            assert np.isfinite(found.grad_where).all()
            assert np.isfinite(found.grad_input).all()
        for value, place in itertools.product((np.nan, np.inf, 1e30), range(9)):
            odd = homographies(1)
            odd[0].flat[place] = value
            Case(input, odd, size, "homography", mode, padding, dtype=dtype).by_kernels(kernels)


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


# --- the deterministic gradient of the input ----------------------------------------------------


@pytest.mark.parametrize("dtype", SUMS)
@pytest.mark.parametrize("inputs", [1, 2])
def test_fixed_point_keeps_what_is_not_finite(kernels: ModuleType, inputs: int, dtype: str) -> None:
    """Exactly the pixels that a sum of floats would spoil, and no others."""
    case = Case(image(inputs, 3, 5, 6), grids(2, 4, 7), (4, 7), dtype=dtype)
    case.grad_output[0, 0, 1, 2] = np.nan
    case.grad_output[0, 1, 2, 3] = np.inf
    case.grad_output[1, 1, 1, 1] = -np.inf
    found, _ = case.backward(kernels, of_where=False, deterministic=True)
    expected = case.by_torch().grad_input
    assert not np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dtype", "largest"), [("float32", 127), ("float64", 1023)])
def test_fixed_point_of_any_magnitude(
    kernels: ModuleType, dtype: str, largest: int, mode: str
) -> None:
    """Planes apart by all that a float can hold; all samples of one meet in one pixel."""
    exponents = np.array([largest - 13, 0, -largest + 14, -largest - 10])
    sizes = np.ldexp(1.0, exponents)[None, :, None, None]
    case = Case(
        image(2, 4, 5, 7),
        np.full((2, 30, 40, 2), -3.3),  # so far outside that all taps fall on the corner
        (30, 40),
        mode=mode,
        padding="border",
        dtype=dtype,
        grad_output=np.broadcast_to(sizes, (2, 4, 30, 40)).copy(),
    )
    found, _ = case.backward(kernels, of_where=False, deterministic=True)
    expected = np.zeros(found.shape)
    expected[:, :, 0, 0] = 1200.0
    np.testing.assert_allclose(found / sizes, expected, rtol=1e-5)


# --- memory -------------------------------------------------------------------------------------


def test_vectors_need_aligned_memory(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels side by side, but the first of them not at a multiple of 16 bytes."""
    for dtype, offset, stride in (("float32", 1, 12), ("float32", 4, 13), ("float16", 4, 16)):
        case = Case(image(1, 8, 5, 6), thetas(1), (4, 7), "affine", dtype=dtype)

        def place(array: np.ndarray, offset: int = offset, stride: int = stride) -> np.ndarray:
            n, c, d, h, w = array.shape
            larger = np.full(n * d * h * w * stride + offset, 0, array.dtype)
            pixels = larger[offset:].reshape(n, d, h, w, stride)[..., :c]
            pixels[...] = np.moveaxis(array, 1, -1)
            return np.moveaxis(pixels, -1, 1)

        monkeypatch.setitem(LAYOUTS, "unaligned", place)
        case.layout = "unaligned"
        case.check(kernels)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3), (2, 2, 0, 3), (2, 2, 3, 0)])
def test_empty(kernels: ModuleType, shape: tuple[int, int, int, int]) -> None:
    n, c, h, w = shape
    for dims, source in ((2, "affine"), (2, "grid"), (2, "homography"), (3, "affine"), (3, "flow")):
        out_size = (h, w) if dims == 2 else (2, h, w)
        in_size = (4, 5) if dims == 2 else (2, 4, 5)
        for inputs in (n, 1):
            where = somewhere(source, n, in_size, out_size)
            case = Case(image(inputs, c, *in_size), where, out_size, source)
            for deterministic in (False, True):  # an empty launch would be an error
                found = case.by_kernels(kernels, deterministic=deterministic)
                assert found.output.shape == (n, c, *out_size)
                assert (found.grad_input == 0).all()
                assert (found.grad_where == 0).all()


def test_bicubic_volumes_are_refused(kernels: ModuleType) -> None:
    case = Case(image(1, 1, 2, 3, 4), grids(1, 2, 2, 2), (2, 2, 2), mode="bicubic")
    output = np.zeros((1, 1, 2, 2, 2))
    invalid_value = 1  # a cudaError_t
    assert kernels.forward(case.input, case.where, case.options(kernels), output) == invalid_value


def far_apart(array: np.ndarray) -> np.ndarray:
    """Rows and channels 2^31 elements apart, in a file with holes in place of what is between."""
    far = 2**31 * array.itemsize
    with tempfile.TemporaryFile() as file:
        file.truncate(4 * far)
        memory = mmap.mmap(file.fileno(), 4 * far)
    strides = (0, 2 * far, 1024, far, array.itemsize)
    result: np.ndarray = np.ndarray(array.shape, array.dtype, memory, strides=strides)
    result[...] = array
    return result


@pytest.mark.skipif(SANITIZED, reason="takes more addresses than ASan leaves")
@pytest.mark.parametrize(("dims", "source"), [(2, "affine"), (2, "flow"), (3, "affine")])
def test_offsets_beyond_32_bits(
    kernels: ModuleType, dims: int, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAYOUTS, "far apart", far_apart)
    size = (2, 4) if dims == 2 else (2, 2, 4)
    where = somewhere(source, 1, size, size, scale=0.5)
    for dtype in ("float32", "float16"):
        Case(image(1, 2, *size), where, size, source, layout="far apart", dtype=dtype).check(
            kernels
        )


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="is the run under the sanitizers")
def test_under_sanitizers() -> None:
    chosen = "sizes or tiles or channels or moderate or finite or empty or aligned or folds or grid"
    files = [Path(__file__).with_name(f"test_{KERNELS}{part}.py") for part in ("", "_edges")]
    run_sanitized(KERNELS, files, chosen)
