"""The CUDA kernels of depthwise convolution, run on the host, against torch in float64."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from simt_build import SANITIZED, run_sanitized
from torch import Tensor

KERNELS = "simt_dilated_conv"
SCHEDULES = ["forward", "reverse", "random"]
DTYPES = {
    "float32": (torch.float32, 3e-6),
    "float64": (torch.float64, 1e-14),
    "float16": (torch.float16, 6e-4),
    "bfloat16": (torch.bfloat16, 5e-3),
}
SHAPES = [
    # batch, channels, height, width, kernel, padding, dilation
    (2, 5, 9, 13, (3, 3), (2, 2), (2, 2)),
    (1, 3, 33, 33, (3, 3), (12, 12), (12, 12)),
    (2, 12, 17, 6, (5, 4), (4, 0), (2, 1)),
    (3, 4, 1, 70, (1, 7), (0, 18), (1, 6)),
    (1, 36, 5, 4, (3, 3), (0, 2), (1, 3)),
    (2, 3, 6, 1, (2, 1), (0, 0), (5, 1)),
    (1, 2, 3, 300, (1, 1), (0, 0), (7, 9)),
]


def as_array(tensor: Tensor, *, last: bool = False) -> np.ndarray:
    """What the kernels see: NumPy knows no bfloat16, and no order of axes but its own."""
    tensor = (tensor.movedim(1, -1) if last else tensor).contiguous()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def as_tensor(array: np.ndarray, dtype: torch.dtype, *, last: bool = False) -> Tensor:
    tensor = torch.from_numpy(array)
    tensor = tensor.view(dtype) if dtype == torch.bfloat16 else tensor
    return (tensor.movedim(-1, 1) if last else tensor).double()


def empty(shape: Any, dtype: torch.dtype) -> Tensor:
    return torch.full(tuple(shape), float("nan"), dtype=dtype)


def expect_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=tolerance, rtol=0)


def check(kernels: ModuleType, shape: Any, dtype_name: str, last: bool) -> None:
    batch, channels, height, width, kernel, padding, dilation = shape
    dtype, tolerance = DTYPES[dtype_name]
    generator = torch.Generator().manual_seed(channels + width)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    input, weight, bias = (
        normal(batch, channels, height, width),
        normal(channels, *kernel),
        normal(channels),
    )
    geometry = kernels.Geometry(*padding, *dilation)
    exact_input = input.double().clone().requires_grad_()
    exact_weight = weight.double()[:, None].clone().requires_grad_()
    for of_bias in (None, bias):
        exact = F.conv2d(
            exact_input,
            exact_weight,
            None if of_bias is None else of_bias.double(),
            padding=padding,
            dilation=dilation,
            groups=channels,
        )
        output = as_array(empty(exact.shape, dtype), last=last)
        arguments = as_array(weight), None if of_bias is None else as_array(of_bias), output
        assert kernels.depthwise(as_array(input, last=last), *arguments, geometry, last) == 0
        expect_close(as_tensor(output, dtype, last=last), exact.detach(), tolerance)
    grad = normal(*exact.shape)
    (expected,) = torch.autograd.grad(exact, exact_weight, grad.double())
    found = as_array(empty(weight.shape, dtype))
    images = as_array(input, last=last), as_array(grad, last=last)
    assert kernels.depthwise_weight(*images, found, geometry, last) == 0
    expect_close(as_tensor(found, dtype), expected[:, 0], tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES[:3] if SANITIZED else SHAPES)
def test_equals_torch(kernels: ModuleType, shape: Any, last: bool, schedule: str) -> None:
    kernels.set_schedule(schedule, 3)
    check(kernels, shape, "float32", last)


@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels_last"])
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(kernels: ModuleType, dtype: str, last: bool) -> None:
    for shape in (SHAPES[2], SHAPES[0], SHAPES[4]):
        check(kernels, shape, dtype, last)


@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels_last"])
def test_sizes_around_blocks(kernels: ModuleType, last: bool) -> None:
    """Planes that share a block and planes of several; channels that fill no group of lanes."""
    wide = ((131, 2, 3), (260, 1, 1)) if last else ((1, 40, 40),)
    for channels, height, width in ((1, 16, 64), (7, 5, 5), *wide):
        shape = (2, channels, height, width, (3, 3), (1, 1), (1, 1))
        check(kernels, shape, "float32", last)


@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels_last"])
def test_same_bits_whatever_the_order_of_threads(kernels: ModuleType, last: bool) -> None:
    random = np.random.default_rng(0)
    images = [random.standard_normal((4, 8, 20, 20)).astype("f") for _ in range(2)]
    found = []
    for schedule in SCHEDULES:
        kernels.set_schedule(schedule, 1)
        channels = 20 if last else 8
        grad_weight = np.empty((channels, 3, 3), np.float32)
        kernels.take_counters()
        geometry = kernels.Geometry(2, 2, 2, 2)
        assert kernels.depthwise_weight(*images, grad_weight, geometry, last) == 0
        assert kernels.take_counters()["atomics"] == 0
        found.append(grad_weight)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_nan_outside_of_the_reach_does_not_count(kernels: ModuleType) -> None:
    input = np.zeros((1, 2, 5, 5), np.float32)
    input[0, 0, 2, 2] = np.nan
    output = np.empty_like(input)
    weight, geometry = np.ones((2, 3, 3), np.float32), kernels.Geometry(2, 2, 2, 2)
    assert kernels.depthwise(input, weight, None, output, geometry, False) == 0
    seen = np.zeros((5, 5), bool)
    seen[::2, ::2] = True
    assert np.array_equal(np.isnan(output[0, 0]), seen)
    assert not np.isnan(output[0, 1]).any()


def test_empty_and_too_large(kernels: ModuleType) -> None:
    weight, geometry = np.ones((2, 3, 3), np.float32), kernels.Geometry(1, 1, 1, 1)
    nothing, grad_weight = np.empty((0, 2, 4, 4), np.float32), np.full_like(weight, np.nan)
    assert kernels.depthwise(nothing, weight, None, nothing, geometry, False) == 0
    assert kernels.depthwise_weight(nothing, nothing, grad_weight, geometry, False) == 0
    assert not grad_weight.any()
    image, far = np.ones((1, 2, 4, 4), np.float32), kernels.Geometry(2**30, 0, 2**29, 1)
    assert kernels.depthwise(image, weight, None, image, far, False) != 0
    assert kernels.depthwise_weight(image, image, grad_weight, far, False) != 0


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="runs already")
def test_sanitized() -> None:
    run_sanitized(KERNELS, [Path(__file__)], "equals_torch or around_blocks or empty")
