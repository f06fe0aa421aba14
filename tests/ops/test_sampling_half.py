"""Sampling in float16 and bfloat16: as exact as the result can be said."""

import itertools

import pytest
import torch
from sampling_places import (
    random_flow,
    random_grid,
    random_homography,
    random_pixel_map,
    random_theta,
)
from torch.testing import assert_close

import pyfast
from pyfast.ops import sampling

HALVES = (torch.float16, torch.bfloat16)
PADDINGS = ("zeros", "border", "reflection")


def places(dims, batch, out):
    """Of each function: its name, where to sample, in float32, and further arguments."""
    eye = torch.eye(dims + 1).expand(batch, -1, -1)
    matrix = eye + 0.2 * torch.randn(batch, dims + 1, dims + 1) * (1 - 0.9 * eye[0, -1, :, None])
    pixels = eye.clone()
    pixels[:, :dims] += torch.randn(batch, dims, dims + 1) * torch.tensor([0.1] * dims + [3.0])
    yield "grid_sample", 2.4 * torch.rand(batch, *out, dims) - 1.2, (), {}
    yield "warp", 5 * torch.randn(batch, dims, *out), (), {}
    yield "affine_grid_sample", matrix[:, :-1], (out,), {}
    yield "warp_affine", pixels[:, :-1], (out,), {"inverse": True}
    if dims == 2:
        projective = torch.eye(3) + 0.1 * torch.randn(batch, 3, 3)
        yield "homography_grid_sample", projective, (out,), {}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_error_is_that_of_rounding_the_result(dtype, channels, last, dims):
    """At most 2 eps max|x| against float64 on the same numbers, which float32 places allow."""
    torch.manual_seed(0)
    side, out = ((256, 256), (30, 41)) if dims == 2 else ((40, 48, 56), (7, 12, 21))
    format = (torch.channels_last, torch.channels_last_3d)[dims - 2] if last else None
    image = torch.rand(2, channels, *side).to(dtype)
    image = image.contiguous(memory_format=format) if last else image
    limit = 2 * torch.finfo(dtype).eps * image.abs().max().double()
    modes = ("bilinear", "bicubic") if dims == 2 else ("bilinear",)
    for (name, where, more, named), mode, padding in itertools.product(
        places(dims, 2, out), modes, PADDINGS
    ):
        function = getattr(pyfast, name)
        result = function(image, where, *more, mode, padding, **named)
        assert result.dtype == dtype
        reference = getattr(sampling, f"{name}_reference")
        exact = reference(image.double(), where.double(), *more, mode, padding, **named)
        assert (result - exact).abs().max() <= limit, (name, mode, padding)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_nearest_moves_pixels_and_keeps_their_bits(dtype):
    torch.manual_seed(1)
    image = torch.randn(1, 3, 200, 300).to(dtype)
    grid = 2 * torch.rand(1, 40, 50, 2) - 1
    result = pyfast.grid_sample(image, grid, "nearest")
    assert torch.equal(result, pyfast.grid_sample(image.float(), grid, "nearest").to(dtype))


def smooth_places(dims, batch, side, out):
    """The same away from the kinks, where float32 and float64 may differ in the slope they take."""
    yield "grid_sample", random_grid(batch, side, out, False), (), {}
    yield "warp", random_flow(batch, side, out), (), {}
    yield "affine_grid_sample", random_theta(batch, side, out, False), (out,), {}
    yield "warp_affine", random_pixel_map(batch, dims), (out,), {"inverse": True}
    if dims == 2:
        yield "homography_grid_sample", random_homography(batch, side, out, False), (out,), {}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_are_summed_in_float32(dtype, dims):
    torch.manual_seed(2)
    side, out = ((9, 10), (40, 41)) if dims == 2 else ((4, 5, 6), (12, 13, 14))
    image = torch.rand(1, 2, *side).to(dtype)
    for name, where, more, named in smooth_places(dims, 3, side, out):
        where = where.float()
        points = [image.clone().requires_grad_(), where.clone().requires_grad_()]
        result = getattr(pyfast, name)(*points, *more, **named)
        gradient = torch.rand(result.shape).to(dtype)
        grads = torch.autograd.grad(result, points, gradient)
        assert [g.dtype for g in grads] == [dtype, torch.float32]
        wide = [p.detach().double().requires_grad_() for p in points]
        exact = getattr(sampling, f"{name}_reference")(*wide, *more, **named)
        expected = torch.autograd.grad(exact, wide, gradient.double())
        for found, wanted, eps in zip(grads, expected, (torch.finfo(dtype).eps, 5e-5), strict=True):
            assert (found - wanted).abs().max() <= 2 * eps * wanted.abs().max(), name


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_half_grid_counts_as_float32(dtype):
    torch.manual_seed(3)
    image, grid = torch.rand(1, 2, 30, 31).to(dtype), (2 * torch.rand(1, 5, 6, 2) - 1).to(dtype)
    points = [image.clone().requires_grad_(), grid.clone().requires_grad_()]
    result = pyfast.grid_sample(*points)
    assert_close(result, pyfast.grid_sample(image, grid.float()))
    assert [g.dtype for g in torch.autograd.grad(result.sum(), points)] == [dtype, dtype]
    theta = torch.eye(2, 3, dtype=dtype)[None]
    assert pyfast.affine_grid(theta, (1, 1, 4, 5)).dtype == dtype
