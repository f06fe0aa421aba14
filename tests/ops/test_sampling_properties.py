"""Sampling: what holds for every image and every map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import pyfast

IDENTITY = torch.eye(2, 3, dtype=torch.float64)[None]
modes = st.sampled_from(["bilinear", "nearest"])
paddings = st.sampled_from(["zeros", "border", "reflection"])
lengths = st.integers(1, 40)
seeds = st.integers(0, 2**31 - 1)
check = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def images(draw, batch=None):
    batch = draw(st.integers(1, 3)) if batch is None else batch
    shape = batch, draw(st.integers(1, 20)), draw(lengths), draw(lengths)
    image = torch.rand(shape, dtype=torch.float64, generator=generator(draw(seeds)))
    layouts = st.sampled_from([torch.contiguous_format, torch.channels_last])
    return image.contiguous(memory_format=draw(layouts))


@st.composite
def thetas(draw, batch):
    random = torch.randn(batch, 2, 3, dtype=torch.float64, generator=generator(draw(seeds)))
    return random * draw(st.sampled_from([0.1, 1.0, 4.0]))


def generator(seed):
    return torch.Generator().manual_seed(seed)


@check
@given(images(), modes, paddings, st.booleans())
def test_the_identity_returns_its_input(image, mode, padding, align_corners):
    theta = IDENTITY.expand(len(image), 2, 3)
    options = (mode, padding, align_corners)
    assert_close(pyfast.affine_grid_sample(image, theta, image.shape[2:], *options), image)


@check
@given(images(), modes, paddings)
def test_turning_four_times_returns_the_input(image, mode, padding):
    turn = torch.tensor([[[0.0, 1, 0], [-1, 0, 0]]]).double().expand(len(image), 2, 3)
    turned = pyfast.affine_grid_sample(image, turn, image.shape[:1:-1], mode, padding)
    assert_close(turned, image.rot90(-1, (2, 3)))
    for _ in range(3):
        turned = pyfast.affine_grid_sample(turned, turn, turned.shape[:1:-1], mode, padding)
    assert_close(turned, image)


@check
@given(images(), modes, paddings, st.booleans())
def test_mirroring_is_flipping(image, mode, padding, align_corners):
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]).double().expand(len(image), 2, 3)
    options = (mode, padding, align_corners)
    assert_close(pyfast.affine_grid_sample(image, mirror, image.shape[2:], *options), image.flip(3))


@check
@given(images(), modes, st.integers(-3, 3), st.integers(-3, 3))
def test_whole_pixels_shift(image, mode, down, right):
    height, width = image.shape[2:]
    rows = [[1, 0, 2 * right / width], [0, 1, 2 * down / height]]
    theta = torch.tensor([rows], dtype=torch.float64)
    shifted = pyfast.affine_grid_sample(
        image, theta.expand(len(image), 2, 3), (height, width), mode
    )
    padded = torch.nn.functional.pad(image, (3, 3, 3, 3))
    window = padded[:, :, 3 + down : 3 + down + height, 3 + right : 3 + right + width]
    assert_close(shifted, window)


@check
@given(st.data(), lengths, lengths, modes, st.booleans())
def test_a_constant_image_stays_constant(data, height, width, mode, align_corners):
    image = torch.full((1, 2, 7, 5), 0.7, dtype=torch.float64)
    theta = data.draw(thetas(2))
    for padding in ("border", "reflection"):
        options = (mode, padding, align_corners)
        result = pyfast.affine_grid_sample(image, theta, (height, width), *options)
        assert_close(result, torch.full_like(result, 0.7))


@check
@given(st.data(), images(batch=2), lengths, lengths, modes, paddings, st.booleans())
def test_both_ways_agree_and_stay_in_range(data, image, height, width, mode, padding, corners):
    theta = data.draw(thetas(2))
    size, options = (height, width), (mode, padding, corners)
    fused = pyfast.affine_grid_sample(image, theta, size, *options)
    if mode == "bilinear":
        grid = pyfast.affine_grid(theta, (*image.shape[:2], *size), corners)
        assert_close(fused, pyfast.grid_sample(image, grid, *options), rtol=0, atol=1e-9)
    low = min(0.0, image.min()) if padding == "zeros" else image.min()
    assert ((fused >= low - 1e-12) & (fused <= image.max() + 1e-12)).all()


@check
@given(st.data(), images(batch=2), lengths, lengths, modes, paddings, st.booleans())
def test_the_gradient_of_the_input_is_the_adjoint(
    data, image, height, width, mode, padding, corners
):
    """<sample(x), y> = <x, gradient(y)>, as sampling is linear in the image."""
    theta = data.draw(thetas(2))
    image.requires_grad_()
    result = pyfast.affine_grid_sample(image, theta, (height, width), mode, padding, corners)
    other = torch.rand(result.shape, dtype=torch.float64, generator=generator(7))
    (adjoint,) = torch.autograd.grad(result, image, other)
    assert_close((result * other).sum(), (image * adjoint).sum())


@check
@given(st.data(), images(batch=1), lengths, lengths, modes, paddings)
def test_a_shared_image_is_a_repeated_image(data, image, height, width, mode, padding):
    theta = data.draw(thetas(3))
    size = (height, width)
    shared = pyfast.affine_grid_sample(image, theta, size, mode, padding)
    repeated = pyfast.affine_grid_sample(image.repeat(3, 1, 1, 1), theta, size, mode, padding)
    assert_close(shared, repeated)


@pytest.mark.parametrize("wants_gradient", [False, True])
def test_a_matrix_without_inverse_is_refused_with_and_without_a_gradient(wants_gradient):
    """Its rows depend on each other; with the rounding of float64 an inverse of it can be had."""
    rows = torch.tensor([[-2.0, 1, -1], [3, 1, -2], [-2, 1, -1]], dtype=torch.float64)
    image = torch.rand(1, 1, 3, 3, dtype=torch.float64)
    with pytest.raises(torch.linalg.LinAlgError, match="no inverse"):
        pyfast.warp_perspective(image, rows.requires_grad_(wants_gradient))
    with pytest.raises(torch.linalg.LinAlgError, match="no inverse"):
        pyfast.warp_affine(image, torch.ones(2, 3, requires_grad=wants_gradient))
    far = torch.tensor([[1.0, 0, 1e9], [0, 1, -1e9]], requires_grad=wants_gradient)
    assert pyfast.warp_affine(image, far).abs().max() == 0


@pytest.mark.parametrize("factor", [1e-120, 1e120])
def test_a_factor_on_a_homography_changes_nothing(factor):
    """Its cube, in which the determinant grows, is no number of float64."""
    rows = torch.tensor([[1.0, 0.1, 0.3], [0.05, 0.9, -0.2], [0.01, 0, 1]], dtype=torch.float64)
    image = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    expected = pyfast.warp_perspective(image, rows)
    assert_close(pyfast.warp_perspective(image, factor * rows), expected)


def test_many_maps_are_inverted_as_each_of_them():
    maps = torch.eye(3, 4, dtype=torch.float64) + 0.1 * torch.randn(
        5, 3, 4, dtype=torch.float64, generator=generator(3)
    )
    last = torch.eye(4, dtype=torch.float64)[-1:].expand(5, 1, 4)
    inverses = torch.linalg.inv(torch.cat([maps, last], 1))[:, :3]
    image = torch.rand(5, 1, 3, 4, 5, dtype=torch.float64)
    expected = pyfast.warp_affine(image, inverses, inverse=True)
    assert_close(pyfast.warp_affine(image, maps), expected)
    assert_close(pyfast.warp_affine(image[:1], maps[0]), expected[:1])


def test_maps_whose_memory_numpy_cannot_read():
    rows = torch.tensor([[1.0, 0.1, 0.3], [0.05, 0.9, -0.2]], dtype=torch.float64)
    image = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    negated = torch.complex(0 * rows, -rows).conj().imag  # -(-rows), by a bit
    assert negated.is_neg()
    expected = pyfast.warp_affine(image, rows)
    torch.testing.assert_close(pyfast.warp_affine(image, negated), expected)
    assert pyfast.warp_affine(image.to("meta"), rows.to("meta")).shape == image.shape
    traced = torch.jit.trace(pyfast.warp_affine, (image, rows))
    torch.testing.assert_close(traced(image, rows), expected)
