"""The array doors of `pyfast._C`: NumPy, DLPack and memoryview in, the results of torch out."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import pyfast
from pyfast._native import _C

IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])
THETA = np.array(
    [[[0.83, -0.41, 0.13], [0.29, 0.91, -0.17]], [[1.13, 0.19, 0.03], [-0.11, 0.71, 0.31]]]
)
OPTIONS = [
    (mode, padding, corners)
    for mode in ("bilinear", "nearest")
    for padding in ("zeros", "border", "reflection")
    for corners in (False, True)
]


def image(dtype: Any = np.float64, shape: tuple[int, ...] = (2, 3, 9, 11)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def by_torch(
    x: np.ndarray, theta: np.ndarray, height: int = 6, width: int = 7, **options: Any
) -> np.ndarray:
    """The definition, on arrays of any layout."""
    images, maps = torch.tensor(np.ascontiguousarray(x)), torch.tensor(theta)
    corners = options.setdefault("align_corners", False)
    grid = F.affine_grid(maps, [len(theta), x.shape[1], height, width], align_corners=corners)
    return F.grid_sample(images.expand(len(theta), -1, -1, -1), grid, **options).numpy()


class OnlyDLPack:
    """An exporter from before DLPack 1: no `max_version`, no flags, no other protocol."""

    def __init__(self, tensor: torch.Tensor, device_type: int = 1) -> None:
        self.tensor, self.device_type = tensor, device_type

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        assert stream is None
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_type, 0


class DeviceInWords(OnlyDLPack):
    def __dlpack_device__(self) -> Any:
        return "cpu"


class OnlyCudaInterface:
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (1, 2, 3), "typestr": "<f4", "data": (0, False), "version": 3}


def negated() -> torch.Tensor:
    """A view whose sign torch has put off."""
    return torch.complex(torch.tensor(image()), torch.tensor(image())).conj().imag


def freed() -> torch.Tensor:
    tensor = torch.tensor(image())
    tensor.untyped_storage().resize_(0)
    return tensor


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "padding", "corners"), OPTIONS)
def test_affine_maps_agree_with_torch(mode: str, padding: str, corners: bool) -> None:
    got = _C.matrix_sample(image(), THETA, (6, 7), mode, padding, corners)
    want = by_torch(image(), THETA, mode=mode, padding_mode=padding, align_corners=corners)
    assert type(got) is np.ndarray
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize(("mode", "padding", "corners"), OPTIONS)
def test_grid_sample_agrees_with_torch(mode: str, padding: str, corners: bool) -> None:
    grid = np.random.default_rng(1).uniform(-1.5, 1.5, (2, 6, 7, 2))
    got = _C.grid_sample(image(), grid, mode=mode, padding_mode=padding, align_corners=corners)
    want = F.grid_sample(torch.tensor(image()), torch.tensor(grid), mode, padding, corners)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("corners", [False, True])
def test_affine_grid_agrees_with_torch(corners: bool) -> None:
    got = _C.affine_grid(THETA, (6, 7), corners)
    np.testing.assert_allclose(
        got, F.affine_grid(torch.tensor(THETA), [2, 1, 6, 7], align_corners=corners), atol=1e-14
    )


def test_backward_doors_agree_with_autograd() -> None:
    x = torch.tensor(image(), requires_grad=True)
    theta = torch.tensor(THETA, requires_grad=True)
    grid = F.affine_grid(theta, [2, 3, 6, 7], align_corners=False)
    grid.retain_grad()
    output = F.grid_sample(x, grid, align_corners=False)
    weights = image(shape=(2, 3, 6, 7))
    output.backward(torch.tensor(weights))
    assert x.grad is not None
    assert theta.grad is not None
    assert grid.grad is not None

    grad_x, grad_theta = _C.matrix_sample_backward(weights, image(), THETA)
    np.testing.assert_allclose(grad_x, x.grad, atol=1e-12)
    np.testing.assert_allclose(grad_theta, theta.grad, atol=1e-12)
    grad_x, grad_grid = _C.grid_sample_backward(weights, image(), grid.detach())
    np.testing.assert_allclose(grad_x, x.grad, atol=1e-12)
    np.testing.assert_allclose(grad_grid, grid.grad, atol=1e-12)
    np.testing.assert_allclose(_C.affine_grid_backward(grid.grad), theta.grad, atol=1e-12)


def test_volumes_agree_with_torch() -> None:
    # Away from whole positions, where rounding would decide on which side a slope is taken.
    bend = 0.1 * np.random.default_rng(1).standard_normal((2, 3, 4))
    x, theta = image(shape=(2, 3, 4, 9, 11)), np.eye(3, 4) * np.array([[[0.8]], [[1.1]]]) + bend
    sides = (5, 6, 7)
    grid = F.affine_grid(torch.tensor(theta), [2, 1, *sides], align_corners=True)
    np.testing.assert_allclose(_C.affine_grid(theta, sides, True), grid, atol=1e-14)
    want = F.grid_sample(torch.tensor(x), grid, align_corners=True)
    options = ("bilinear", "zeros", True)
    np.testing.assert_allclose(_C.grid_sample(x, grid.numpy(), *options), want, atol=1e-12)
    np.testing.assert_allclose(_C.matrix_sample(x, theta, sides, *options), want, atol=1e-12)
    weights = np.ones(want.shape)
    grad_x, grad_theta = _C.matrix_sample_backward(weights, x, theta, *options)
    again, grad_grid = _C.grid_sample_backward(weights, x, grid.numpy(), *options)
    np.testing.assert_allclose(grad_x, again, atol=1e-10)
    np.testing.assert_allclose(
        grad_theta, _C.affine_grid_backward(grad_grid, True), rtol=1e-9, atol=1e-9
    )


def test_maps_of_pixels_and_flows_agree_with_the_functions_on_tensors() -> None:
    x, rng = image(), np.random.default_rng(2)
    square = np.eye(3) + 0.01 * rng.normal(size=(2, 3, 3))
    flow = 3 * rng.normal(size=(2, 2, 6, 7))
    a, b, c = torch.tensor(x), torch.tensor(square), torch.tensor(flow)
    for got, want in (
        (
            _C.matrix_sample(x, square, [6, 7], "bicubic"),
            pyfast.homography_grid_sample(a, b, (6, 7), "bicubic"),
        ),
        (
            _C.matrix_sample(x, square, (6, 7), pixels=True),
            pyfast.warp_perspective(a, b, (6, 7), inverse=True),
        ),
        (_C.flow_sample(x, flow, "nearest", "border"), pyfast.warp(a, c, "nearest", "border")),
    ):
        np.testing.assert_allclose(got, want, atol=1e-12)
    points = [a.clone().requires_grad_(), c.clone().requires_grad_()]
    pyfast.warp(*points).sum().backward()
    for got, point in zip(_C.flow_sample_backward(np.ones(SHAPE), x, flow), points, strict=True):
        assert point.grad is not None
        np.testing.assert_allclose(got, point.grad, atol=1e-12)


def test_one_image_serves_many_maps() -> None:
    x = image(shape=(1, 3, 9, 11))
    np.testing.assert_allclose(_C.matrix_sample(x, THETA, (6, 7)), by_torch(x, THETA), atol=1e-12)
    grad_x, _ = _C.matrix_sample_backward(np.ones((2, 3, 6, 7)), x, THETA)
    assert grad_x.shape == x.shape


# --- inputs ---------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "negative strides": lambda x: x[:, ::-1, ::-1, ::-1],
    "every other element": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "Fortran order": np.asfortranarray,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "one row for all": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
    "field of packed records": lambda x: pack(x)["value"],
}


def pack(x: np.ndarray) -> np.ndarray:
    """`x` beside a byte, so that its elements are not aligned."""
    records = np.zeros(x.shape, dtype=[("flag", "u1"), ("value", x.dtype)])
    records["value"] = x
    return records


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_read_where_it_lies(layout: str, dtype: Any) -> None:
    x = LAYOUTS[layout](image(dtype))
    theta = THETA.astype(dtype)
    got = _C.matrix_sample(x, theta, (6, 7))
    assert got.dtype == dtype
    assert np.array_equal(
        got, _C.matrix_sample(np.ascontiguousarray(x), theta, (6, 7))
    ) or np.allclose(got, by_torch(x, theta), atol=1e-5)
    grid = _C.affine_grid(theta, (6, 7))
    mirrored = grid[:, ::-1, ::-1]
    np.testing.assert_allclose(
        _C.grid_sample(x, mirrored), _C.grid_sample(x, grid)[..., ::-1, ::-1], atol=1e-6
    )


def test_theta_of_any_layout() -> None:
    want = _C.affine_grid(THETA, (6, 7))
    assert np.array_equal(_C.affine_grid(np.asfortranarray(THETA), (6, 7)), want)
    assert np.array_equal(_C.affine_grid(THETA[::-1], (6, 7)), want[::-1])


EXPORTERS: dict[str, Callable[[np.ndarray], Any]] = {
    "torch": torch.tensor,
    "memoryview": memoryview,
    "DLPack without a version": lambda x: OnlyDLPack(torch.tensor(x)),
    "pinned memory": lambda x: OnlyDLPack(torch.tensor(x), device_type=3),
}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_arrays_of_other_libraries(exporter: str) -> None:
    export = EXPORTERS[exporter]
    got = _C.matrix_sample(export(image()), export(THETA), (6, 7))
    assert type(got) is np.ndarray
    assert np.array_equal(got, _C.matrix_sample(image(), THETA, (6, 7)))


def test_tensors_with_strides() -> None:
    x = torch.tensor(image()).to(memory_format=torch.channels_last)
    np.testing.assert_allclose(
        _C.matrix_sample(x[:, :, 1:], THETA, (6, 7)),
        by_torch(image()[:, :, 1:], THETA),
        atol=1e-12,
    )


def test_read_only_inputs() -> None:
    x, theta = image(), THETA.copy()
    x.flags.writeable = theta.flags.writeable = False
    np.testing.assert_allclose(_C.matrix_sample(x, theta, (6, 7)), by_torch(x, theta), atol=1e-12)


def test_inputs_are_given_back() -> None:
    x = bytearray(image().tobytes())
    view = memoryview(x).cast("d", shape=[2, 3, 9, 11])
    with pytest.raises(ValueError, match="expected size"):
        _C.matrix_sample(view, THETA, (-1, 7))
    _C.matrix_sample(view, THETA, (6, 7))
    view.release()
    x.extend(b"0")  # raises BufferError while somebody borrows the memory


# --- sizes ----------------------------------------------------------------------------------------


def test_empty_sizes() -> None:
    assert _C.matrix_sample(image()[:0], THETA[:0], (6, 7)).shape == (0, 3, 6, 7)
    assert _C.matrix_sample(image()[:, :0], THETA, (6, 7)).shape == (2, 0, 6, 7)
    assert _C.grid_sample(image(), np.zeros((2, 0, 7, 2))).shape == (2, 3, 0, 7)
    assert _C.affine_grid(THETA[:0], (6, 7)).shape == (0, 6, 7, 2)
    grad_x, grad_theta = _C.matrix_sample_backward(np.zeros((2, 3, 0, 7)), image(), THETA)
    assert not grad_x.any()
    assert not grad_theta.any()
    assert not _C.affine_grid_backward(np.zeros((2, 0, 7, 2))).any()


@pytest.mark.parametrize("size", [2**25, 2**31 - 16, 2**31, 2**62])
def test_sizes_that_no_memory_holds(size: int) -> None:
    with pytest.raises((ValueError, MemoryError)):
        _C.affine_grid(THETA, (size, size))
    with pytest.raises((ValueError, MemoryError)):
        _C.matrix_sample(image(), THETA, (size, size))


# --- out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["C", "F", "mirrored", "torch"])
def test_out_receives_the_result(layout: str) -> None:
    want = _C.matrix_sample(image(), THETA, (6, 7))
    out: Any = np.empty((2, 3, 6, 7), order="F" if layout == "F" else "C")
    if layout == "mirrored":
        out = out[..., ::-1]
    if layout == "torch":
        out = torch.from_numpy(out)
    assert _C.matrix_sample(image(), THETA, (6, 7), out=out) is out
    np.testing.assert_allclose(out, want, atol=1e-12)


def test_out_of_the_backward_doors() -> None:
    weights = np.ones((2, 3, 6, 7))
    want = _C.matrix_sample_backward(weights, image(), THETA)
    out = (np.full_like(image(), np.nan), np.full_like(THETA, np.nan))
    got = _C.matrix_sample_backward(weights, image(), THETA, out=out)
    assert got[0] is out[0]
    assert got[1] is out[1]
    assert np.array_equal(out[0], want[0])
    assert np.array_equal(out[1], want[1])


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(shape)
    array.flags.writeable = False
    return array


SHAPE = (2, 3, 6, 7)


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (np.empty((2, 3, 7, 6)), ValueError, r"out of shape \(2, 3, 6, 7\), got \(2, 3, 7, 6\)"),
        (np.empty(SHAPE, np.float32), TypeError, "out of the dtype of input, float64, got float32"),
        (np.empty(SHAPE, np.int64), TypeError, "out of float32 or float64, got int64"),
        (read_only(SHAPE), ValueError, "out to be writable"),
        (
            np.lib.stride_tricks.as_strided(np.empty(1), SHAPE, (0,) * 4),
            ValueError,
            "a broadcast array",
        ),
        (pack(np.empty(SHAPE))["value"], ValueError, "out to be aligned"),
        ([1.0], TypeError, "out to be an array .*, got list"),
    ],
)
def test_out_that_does_not_fit(out: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"matrix_sample: expected .*{text}"):
        _C.matrix_sample(image(), THETA, (6, 7), out=out)


def test_out_in_the_memory_of_an_input() -> None:
    x = image()
    with pytest.raises(ValueError, match="expected out and input in separate memory"):
        _C.matrix_sample(x, THETA, (9, 11), out=x[:, ::-1])
    both = np.empty((2, 3, 9, 11))
    with pytest.raises(ValueError, match=r"expected out\[1\] and out\[0\] in separate memory"):
        _C.matrix_sample_backward(
            np.ones(SHAPE), x, THETA, out=(both, both.ravel()[:12].reshape(2, 2, 3))
        )


def test_out_that_has_to_be_contiguous() -> None:
    with pytest.raises(ValueError, match="affine_grid: expected out to be C-contiguous"):
        _C.affine_grid(THETA, (6, 7), out=np.empty((2, 6, 7, 2), order="F"))
    with pytest.raises(TypeError, match="expected out to be a tuple of 2 arrays, got ndarray"):
        _C.matrix_sample_backward(np.ones(SHAPE), image(), THETA, out=image())


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"matrix": np.zeros((4, 2, 2))}, ValueError, "(N, 3, 3) or (N, 3, 4), got (4, 2, 2)"),
        (
            {"matrix": np.zeros(6)},
            ValueError,
            "of shape (N, 2, 3), (N, 3, 3) or (N, 3, 4), got (6,)",
        ),
        (
            {"matrix": np.float64(1)},
            ValueError,
            "of shape (N, 2, 3), (N, 3, 3) or (N, 3, 4), got ()",
        ),
        (
            {"matrix": np.zeros((5, 2, 3))},
            ValueError,
            "input of shape (5, C, H, W) or (1, C, H, W), got (2, 3, 9, 11)",
        ),
        (
            {"matrix": np.zeros((1, 2, 3))},
            ValueError,
            "input of shape (1, C, H, W), got (2, 3, 9, 11)",
        ),
        (
            {"input": image()[0]},
            ValueError,
            "input of shape (N, C, H, W) or (N, C, D, H, W), got (3, 9, 11)",
        ),
        (
            {"input": image()[:, :, :0]},
            ValueError,
            "input of shape (N, C, H, W) with sides from 1 to 2**24, got (2, 3, 0, 11)",
        ),
        ({"input": image(np.int32)}, TypeError, "input of float32 or float64, got int32"),
        ({"input": image(np.float16)}, TypeError, "input of float32 or float64, got float16"),
        ({"input": image(np.complex128)}, TypeError, "input of float32 or float64, got complex128"),
        ({"input": image(">f4")}, TypeError, "input of float32 or float64, got >f4"),
        ({"input": image(bool)}, TypeError, "input of float32 or float64, got bool"),
        ({"input": image(object)}, TypeError, "input of float32 or float64, got object"),
        (
            {"input": torch.zeros(2, 3, 9, 11, dtype=torch.bfloat16)},
            TypeError,
            "input of float32 or float64, got torch.bfloat16",
        ),
        ({"input": b"bytes"}, TypeError, "input of float32 or float64, got bytes of another type"),
        (
            {"input": image(np.float32)},
            TypeError,
            "matrix of the dtype of input, float32, got float64",
        ),
        (
            {"input": [1.0]},
            TypeError,
            "input to be an array (buffer protocol, DLPack or __cuda_array_interface__), got list",
        ),
        ({"matrix": None}, TypeError, "__cuda_array_interface__), got NoneType"),
        (
            {"matrix": np.zeros((2, 2, 3), "M8[D]")},
            TypeError,
            "to give access to its memory, got ndarray: cannot include dtype 'M' in a buffer",
        ),
        (
            {"matrix": torch.tensor(THETA, requires_grad=True)},
            TypeError,
            "matrix to give access to its memory, got Tensor: Can't export tensors that require",
        ),
        ({"input": torch.zeros(1).to_sparse()}, TypeError, "input to give access to its memory"),
        (
            {"input": OnlyDLPack(torch.zeros(1), device_type=10)},
            TypeError,
            "got OnlyDLPack: it lies on DLPack device type 10",
        ),
        ({"input": negated()}, TypeError, "got Tensor: its values are still to be negated"),
        ({"input": freed()}, TypeError, "input to have memory, got Tensor without"),
        (
            {"input": torch._efficientzerotensor((2, 3, 9, 11), dtype=torch.float64)},
            TypeError,
            "input to have memory, got Tensor without",
        ),
        (
            {"input": DeviceInWords(torch.zeros(1))},
            TypeError,
            "input to describe its memory as its protocol asks, got DeviceInWords",
        ),
        ({"size": (0, 7)}, ValueError, "size (H, W) from 1 to 2147483632, got (0, 7)"),
        ({"size": (6, -3)}, ValueError, "size (H, W) from 1 to 2147483632, got (6, -3)"),
        ({"size": (6, 7, 8)}, ValueError, "size (H, W), got (6, 7, 8)"),
        ({"size": 6}, TypeError, "size to be a tuple of integers, got 6"),
        ({"size": (2.5, 7)}, TypeError, "size to be an integer of 64 bits, got 2.5"),
        ({"size": (6, "7")}, TypeError, "size to be an integer of 64 bits, got '7'"),
        ({"size": (6, 2**70)}, TypeError, "size to be an integer of 64 bits, got"),
        ({"pixels": 1}, TypeError, "pixels to be a bool, got 1"),
        (
            {"matrix": np.zeros((2, 3, 4))},
            ValueError,
            "matrix of shape (N, 2, 3) or (N, 3, 3), got (2, 3, 4)",
        ),
        ({"mode": "cubic"}, ValueError, "one of bilinear, nearest, bicubic, got 'cubic'"),
        ({"mode": 1}, TypeError, "mode to be a string, got 1"),
        (
            {"padding_mode": "wrap"},
            ValueError,
            "padding_mode to be one of zeros, border, reflection, got 'wrap'",
        ),
        ({"align_corners": "yes"}, TypeError, "align_corners to be a bool, got 'yes'"),
        ({"stream": -1}, TypeError, "stream to be a cudaStream_t as an integer, got -1"),
    ],
)
def test_errors_name_function_argument_and_value(
    changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments: dict[str, Any] = {"input": image(), "matrix": THETA, "size": (6, 7)}
    with pytest.raises(error) as caught:
        _C.matrix_sample(**{**arguments, **changes})
    assert str(caught.value).startswith("matrix_sample: expected ")
    assert text in str(caught.value)


def test_shapes_of_the_other_doors() -> None:
    with pytest.raises(ValueError, match=r"grid_sample: expected grid of shape \(N, H, W, 2\)"):
        _C.grid_sample(image(), np.zeros((2, 6, 7, 3)))
    with pytest.raises(ValueError, match=r"grad_output of shape \(2, 3, 6, 7\), got \(2, 3, 7, 6"):
        _C.grid_sample_backward(np.zeros((2, 3, 7, 6)), image(), np.zeros((2, 6, 7, 2)))
    with pytest.raises(ValueError, match=r"grad_output of shape \(N, C, H, W\) or .*, got \(2,\)"):
        _C.matrix_sample_backward(np.zeros(2), image(), THETA)
    with pytest.raises(ValueError, match=r"grad_grid of shape \(N, H, W, 2\) or .*, got \(2, 2, 3"):
        _C.affine_grid_backward(THETA)


@pytest.mark.parametrize("where", ["input", "matrix"])
def test_special_coordinates(where: str) -> None:
    for value in (np.nan, np.inf, -np.inf, 3e38):
        x, theta = image(np.float32), THETA.astype(np.float32)
        {"input": x, "matrix": theta}[where][0, 0, 0] = value
        for mode, padding, corners in OPTIONS:
            out = _C.matrix_sample(x, theta, (6, 7), mode, padding, corners)
            assert np.isfinite(out[1]).all()


@pytest.mark.skipif(_C.with_cuda, reason="this build has CUDA kernels")
def test_cuda_arrays_without_cuda_kernels() -> None:
    for array in (OnlyCudaInterface(), OnlyDLPack(torch.zeros(1, 2, 3), device_type=2)):
        with pytest.raises(RuntimeError, match="built without its CUDA kernels"):
            _C.affine_grid(array, (6, 7))


# --- the page -------------------------------------------------------------------------------------

PAGE = Path(__file__).parent.parent / "docs" / "arrays.md"
NO_DOORS = {
    "after_fork",
    "clear_scratch",
    "cpu_capabilities",
    "cpu_capability",
    "gathers",
    "set_cpu_capability",
    "set_gathers",
    "torch_has_cuda_shim",
    "with_matting_preconditioner",
    "with_matting_progress",
}


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are not here")
def test_the_page_lists_every_door() -> None:
    listed = re.findall(r"^\| `(\w+)\(", PAGE.read_text(), re.MULTILINE)
    functions = {name for name in dir(_C) if callable(getattr(_C, name)) and name[0] != "_"}
    assert set(listed) == functions - NO_DOORS


# --- threads --------------------------------------------------------------------------------------


def test_other_threads_run_meanwhile() -> None:
    x, out = np.ones((1, 4, 1024, 1024)), np.empty((1, 4, 1024, 1024))
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.0005):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    calls = []
    for _ in range(20):
        begin = time.perf_counter()
        _C.matrix_sample(x, IDENTITY, (1024, 1024), out=out)
        calls.append((begin, time.perf_counter()))
    done.set()
    thread.join()
    # Without the release a tick can fall between the clock and the call, hardly two.
    assert max(sum(begin < tick < end for tick in ticks) for begin, end in calls) >= 3
    np.testing.assert_allclose(out, x, atol=1e-9)


def test_calls_from_many_threads() -> None:
    want = _C.matrix_sample(image(), THETA, (6, 7))
    results: list[np.ndarray] = []

    def call() -> None:
        results.extend(_C.matrix_sample(image(), THETA, (6, 7)) for _ in range(50))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    assert all(np.array_equal(result, want) for result in results)


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (_C.with_cuda and torch.cuda.is_available()), reason="needs CUDA kernels and a GPU"
)
class TestCuda:
    class Interface:
        """What PyCUDA and Numba offer: no DLPack."""

        def __init__(self, tensor: torch.Tensor) -> None:
            self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, "stream": 1}

    @pytest.mark.parametrize("wrap", [lambda x: x, Interface], ids=["DLPack", "interface"])
    @pytest.mark.parametrize("own_stream", [False, True])
    def test_forward_and_backward(self, wrap: Callable[[Any], Any], own_stream: bool) -> None:
        stream = torch.cuda.Stream() if own_stream else torch.cuda.default_stream()
        x, theta, weights = (
            torch.tensor(a, device="cuda") for a in (image(), THETA, np.ones(SHAPE))
        )
        out = torch.empty(SHAPE, dtype=torch.float64, device="cuda")
        grads = torch.empty_like(x), torch.empty_like(theta)
        _C.matrix_sample(wrap(x), wrap(theta), (6, 7), out=wrap(out), stream=stream.cuda_stream)
        _C.matrix_sample_backward(
            wrap(weights),
            wrap(x),
            wrap(theta),
            out=(wrap(grads[0]), wrap(grads[1])),
            stream=stream.cuda_stream,
        )
        torch.cuda.synchronize()
        np.testing.assert_allclose(out.cpu(), _C.matrix_sample(image(), THETA, (6, 7)), atol=1e-12)
        want = _C.matrix_sample_backward(np.ones(SHAPE), image(), THETA)
        for grad, wanted in zip(grads, want, strict=True):
            np.testing.assert_allclose(grad.cpu(), wanted, atol=1e-10)

    def test_memory_that_is_not_aligned(self) -> None:
        theta = self.Interface(torch.zeros(1, 2, 3, device="cuda"))
        theta.__cuda_array_interface__["strides"] = (24, 12, 5)
        with pytest.raises(ValueError, match="affine_grid: expected theta to be aligned"):
            _C.affine_grid(theta, (6, 7))

    def test_out_is_needed_on_the_same_device(self) -> None:
        x, theta = torch.tensor(image(), device="cuda"), torch.tensor(THETA, device="cuda")
        with pytest.raises(ValueError, match="expected out on the device of input, cuda:0, got N"):
            _C.matrix_sample(x, theta, (6, 7))
        with pytest.raises(ValueError, match="expected out on the device of input, cuda:0, got c"):
            _C.matrix_sample(x, theta, (6, 7), out=np.empty(SHAPE))
        with pytest.raises(ValueError, match="expected matrix on the device of input, cuda:0"):
            _C.matrix_sample(x, THETA, (6, 7), out=torch.empty_like(x))
