"""The CUDA kernels of implicit convolution, run on the host, against torch in float64."""

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
TOLERANCE = 2e-6  # of the largest value
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = [
    # batch, inputs, outputs, groups, height, width, kernel, stride, padding, dilation
    (2, 20, 5, 1, 9, 11, (3, 3), (1, 1), (2, 2), (2, 2)),
    (1, 17, 70, 1, 13, 7, (3, 2), (2, 1), (4, 0), (3, 2)),
    (1, 12, 8, 4, 7, 30, (1, 5), (1, 3), (0, 7), (1, 4)),
    (2, 36, 33, 1, 6, 6, (1, 1), (1, 1), (0, 0), (1, 1)),
]


def empty(shape: Any, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    return torch.full(tuple(shape), float("nan")).to(memory_format=layout)


def check(kernels: ModuleType, shape: Any, layout: str = "contiguous") -> None:
    batch, inputs, outputs, groups, height, width, kernel, stride, padding, dilation = shape
    generator, format = torch.Generator().manual_seed(inputs + width), LAYOUTS[layout]

    def normal(*size: int) -> torch.Tensor:
        tensor = torch.randn(size, generator=generator)
        return tensor.to(memory_format=format) if len(size) == 4 else tensor

    input, bias = normal(batch, inputs, height, width), normal(outputs)
    weight = normal(outputs, inputs // groups, *kernel).contiguous()
    convolution = kernels.Convolution(groups, stride, padding, dilation)
    exact_leaves = [t.double().requires_grad_() for t in (input, weight)]
    exact = F.conv2d(*exact_leaves, None, stride, padding, dilation, groups)
    for of_bias in (None, bias):
        output = empty(exact.shape, format)
        arguments = input.numpy(), weight.numpy(), None if of_bias is None else of_bias.numpy()
        assert kernels.implicit(*arguments, output.numpy(), convolution) == 0
        shift = 0 if of_bias is None else bias.double()[:, None, None]
        expect_close(output, exact.detach() + shift)
    gradient = normal(*exact.shape)
    of_input, of_weight = torch.autograd.grad(exact, exact_leaves, gradient.double())
    found = empty(input.shape, format)
    assert kernels.implicit_input(gradient.numpy(), weight.numpy(), found.numpy(), convolution) == 0
    expect_close(found, of_input)
    found = empty(weight.shape)
    images = input.numpy(), gradient.numpy()
    assert kernels.implicit_weight(*images, found.numpy(), convolution) == 0
    expect_close(found, of_weight)


def expect_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.abs().max()
    torch.testing.assert_close(found.double() / scale, expected / scale, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch(kernels: ModuleType, shape: Any, layout: str, schedule: str) -> None:
    kernels.set_schedule(schedule, 2)
    check(kernels, shape, layout)


@pytest.mark.skipif(SANITIZED, reason="takes long")
def test_sizes_around_tiles(kernels: ModuleType) -> None:
    """Of 32, 64 and 128 channels, of 128 pixels."""
    for inputs, outputs, height, width in (
        (16, 32, 8, 16),
        (15, 64, 3, 43),
        (33, 129, 1, 128),
        (300, 3, 2, 5),
        (3, 2, 30, 30),
    ):
        check(kernels, (1, inputs, outputs, 1, height, width, (3, 1), (1, 1), (1, 0), (1, 1)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("shape", "launches"),
    [
        ((1, 2, 3, 1, 5, 6, (3, 3), (1, 1), (1, 1), (1, 1)), 2 * 2 + 2 + 1),
        ((1, 520, 3, 1, 2, 5, (3, 3), (1, 1), (1, 1), (1, 1)), 2 * 3 + 2 + 1),
        ((1, 3, 520, 1, 2, 5, (3, 3), (1, 1), (1, 1), (1, 1)), 2 * 2 + 3 + 1),
        ((1, 2, 3, 1, 70, 69, (1, 1), (1, 1), (0, 0), (1, 1)), 2 * 2 + 2 + 2),
    ],
    ids=["none", "of the output", "of the input's gradient", "of the weight's gradient"],
)
def test_long_sums_are_made_in_parts(
    kernels: ModuleType, shape: Any, launches: int, schedule: str
) -> None:
    """One more launch adds them up: outputs without and with bias, both gradients."""
    kernels.set_schedule(schedule, 3)
    check(kernels, shape)
    assert kernels.take_counters()["launches"] == launches


def test_no_tap_meets_the_image(kernels: ModuleType) -> None:
    """Corners of so much padding that the sum is empty there."""
    check(kernels, (1, 3, 2, 1, 2, 2, (2, 2), (1, 1), (30, 30), (9, 9)))


def test_taps_in_padding_are_not_read(kernels: ModuleType) -> None:
    """The middle row of taps alone meets a picture of one row: the others may be anything."""
    input, output = np.ones((1, 2, 1, 9), np.float32), np.empty((1, 3, 1, 9), np.float32)
    weight = np.full((3, 2, 3, 1), np.nan, np.float32)
    weight[:, :, 1] = 2
    convolution = kernels.Convolution(1, (1, 1), (12, 0), (12, 1))
    assert kernels.implicit(input, weight, None, output, convolution) == 0
    assert (output == 4).all()


def test_same_bits_whatever_the_order_of_threads(kernels: ModuleType) -> None:
    random = np.random.default_rng(0)
    input, gradient = (random.standard_normal((1, 40, 20, 20)).astype("f") for _ in range(2))
    weight = random.standard_normal((40, 40, 3, 3)).astype("f")
    convolution = kernels.Convolution(1, (1, 1), (2, 2), (2, 2))
    found = []
    for schedule in SCHEDULES:
        kernels.set_schedule(schedule, 1)
        results = np.empty_like(input), np.empty_like(input), np.empty_like(weight)
        kernels.take_counters()
        assert kernels.implicit(input, weight, None, results[0], convolution) == 0
        assert kernels.implicit_input(gradient, weight, results[1], convolution) == 0
        assert kernels.implicit_weight(input, gradient, results[2], convolution) == 0
        assert kernels.take_counters()["atomics"] == 0
        found.append(results)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_empty_and_too_large(kernels: ModuleType) -> None:
    nothing, weight = np.empty((0, 2, 4, 4), np.float32), np.ones((2, 2, 3, 3), np.float32)
    convolution, grad_weight = (
        kernels.Convolution(1, (1, 1), (1, 1), (1, 1)),
        np.full_like(weight, 9),
    )
    assert kernels.implicit(nothing, weight, None, nothing, convolution) == 0
    assert kernels.implicit_input(nothing, weight, nothing, convolution) == 0
    assert kernels.implicit_weight(nothing, nothing, grad_weight, convolution) == 0
    assert not grad_weight.any()
    image, far = (
        np.ones((1, 2, 4, 4), np.float32),
        kernels.Convolution(1, (1, 1), (2**30, 0), (9, 9)),
    )
    assert kernels.implicit(image, weight, None, image, far) != 0
    assert kernels.implicit_weight(image, image, grad_weight, far) != 0


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="runs already")
def test_sanitized() -> None:
    run_sanitized(KERNELS, [Path(__file__)], "equals_torch or in_parts or no_tap or empty")
