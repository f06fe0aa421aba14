"""Every CUDA kernel of the sampling family, run on the host and compared with torch."""

import importlib.util
import itertools
import os
import subprocess
import sys
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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("mode", "padding", "align"), EVERY_OPTION)
def test_options_and_layouts(
    kernels: ModuleType, mode: str, padding: str, align: bool, layout: str
) -> None:
    for dtype in (np.float64, np.float32):
        input = image(2, 5, 7, 9, dtype=dtype)
        for where in (thetas(2, dtype=dtype), grids(2, 6, 10, dtype=dtype)):
            Case(input, where, (6, 10), mode, padding, align, layout).check(kernels)
