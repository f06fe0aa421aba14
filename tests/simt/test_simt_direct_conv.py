"""The CUDA kernel of few channels, run on the host, against torch in float64."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from simt_build import SANITIZED, run_sanitized

KERNELS = "simt_dilated_conv"
SCHEDULES = ["forward", "reverse", "random"]
DTYPES = {torch.float32: 2e-6, torch.float64: 1e-14}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = [
    # batch, inputs, outputs, height, width, kernel, padding, dilation
    (2, 5, 7, 9, 11, (3, 3), (2, 2), (2, 2)),
    (1, 21, 21, 20, 21, (3, 3), (8, 8), (8, 8)),
    (1, 2, 30, 18, 19, (2, 3), (1, 0), (1, 4)),
    (1, 70, 9, 3, 129, (3, 5), (0, 8), (1, 4)),
    (3, 1, 1, 1, 300, (1, 7), (0, 3), (1, 1)),
]


def check(kernels: ModuleType, shape: Any, layout: str, dtype: torch.dtype) -> None:
    batch, inputs, outputs, height, width, kernel, padding, dilation = shape
    generator, format = torch.Generator().manual_seed(inputs + width), LAYOUTS[layout]

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    input = normal(batch, inputs, height, width).to(memory_format=format)
    weight, bias = normal(outputs, inputs, *kernel), normal(outputs)
    geometry = kernels.Geometry(*padding, *dilation)
    leaf = input.double().clone().requires_grad_()
    exact = F.conv2d(leaf, weight.double(), None, 1, padding, dilation)
    shifted = exact.detach() + bias.double()[:, None, None]
    for of_bias, relu, wanted in (
        (None, False, exact.detach()),
        (bias, False, shifted),
        (bias, True, shifted.relu()),
    ):
        output = torch.full_like(exact, float("nan"), dtype=dtype).to(memory_format=format)
        arguments = input.numpy(), weight.numpy(), None if of_bias is None else of_bias.numpy()
        assert kernels.direct(*arguments, output.detach().numpy(), geometry, False, relu) == 0
        expect_close(output.detach(), wanted, DTYPES[dtype])
    grad = normal(*exact.shape).to(memory_format=format)
    (wanted,) = torch.autograd.grad(exact, leaf, grad.double())
    rest = [d * (k - 1) - p for p, d, k in zip(padding, dilation, kernel, strict=True)]
    found = torch.full_like(input, float("nan"))
    around = kernels.Geometry(*rest, *dilation)
    arrays = grad.numpy(), weight.numpy(), None, found.numpy()
    assert kernels.direct(*arrays, around, True, False) == 0
    expect_close(found, wanted, DTYPES[dtype])


def expect_close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    scale = wanted.abs().max()
    torch.testing.assert_close(found.double() / scale, wanted / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch(
    kernels: ModuleType, shape: Any, dtype: torch.dtype, layout: str, schedule: str
) -> None:
    kernels.set_schedule(schedule, 6)
    check(kernels, shape, layout, dtype)


def test_a_nan_goes_through_the_relu(kernels: ModuleType) -> None:
    input, output = np.full((1, 1, 2, 2), np.nan, "f"), np.zeros((1, 1, 2, 2), "f")
    weight, geometry = np.ones((1, 1, 1, 1), "f"), kernels.Geometry(0, 0, 1, 1)
    assert kernels.direct(input, weight, None, output, geometry, False, True) == 0
    assert np.isnan(output).all()


def test_empty_and_too_large(kernels: ModuleType) -> None:
    nothing, geometry = np.empty((0, 2, 4, 4), "f"), kernels.Geometry(1, 1, 1, 1)
    weight = np.ones((2, 2, 3, 3), "f")
    assert kernels.direct(nothing, weight, None, nothing, geometry, False, False) == 0
    image = np.ones((1, 2, 4, 4), "f")
    far = kernels.Geometry(2**30, 0, 2**29, 1)
    assert kernels.direct(image, weight, None, image, far, False, False) != 0
    vast = np.ones((2, 2, 40, 40), "f")
    assert kernels.direct(image, vast, None, image, geometry, False, False) != 0


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="runs already")
def test_sanitized() -> None:
    run_sanitized(KERNELS, [Path(__file__)], "equals_torch or empty")
