"""Sampling with gathers agrees with sampling without, whichever of them the processor prefers."""

import itertools

import pytest
import torch

import pyfast
from pyfast._native import _C

LEVELS = [name for name in _C.cpu_capabilities() if name != "baseline"]
# The last one is large enough for the level that gathers only what no cache holds.
SIZES = [(2, 2), (2, 33), (19, 3), (5, 300), (520, 510)]


@pytest.fixture(params=LEVELS)
def level(request):
    before, gathers = _C.cpu_capability(), _C.gathers()
    _C.set_cpu_capability(request.param)
    yield request.param
    _C.set_cpu_capability(before)
    _C.set_gathers(gathers)


def random_grid(batch, height, width):
    """Beyond the image on all sides; a row is about level, as AVX2 needs it for large images."""
    grid = 2.6 * torch.rand(batch, height, width, 2) - 1.3
    grid[..., 1] = torch.linspace(-1.3, 1.3, height)[:, None] + 1e-3 * torch.rand(height, width)
    return grid


def results(x, grid, padding, align):
    """The samples and their gradients, without gathers and with them."""
    weight = torch.randn(x.shape[0], x.shape[1], *grid.shape[1:3], dtype=x.dtype)
    for use in (False, True):
        _C.set_gathers(use)
        inputs = [t.detach().clone().requires_grad_() for t in (x, grid)]
        out = pyfast.grid_sample(*inputs, padding_mode=padding, align_corners=align)
        yield (out.detach(), *torch.autograd.grad(out, inputs, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gathers_change_nothing(level, layout, padding, dtype):
    torch.manual_seed(0)
    for size, channels, align in itertools.product(SIZES, (1, 2, 3, 4), (False, True)):
        x = torch.randn(2, channels, *size).to(dtype).contiguous(memory_format=layout)
        grid = random_grid(2, 7, 37)
        grid[0, 0, :4] = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [1e20, 0.0], [0.0, -1e20]])
        without, with_gathers = results(x, grid, padding, align)
        for a, b in zip(without, with_gathers, strict=True):
            close = 1e-6 if a.dtype == torch.float32 else torch.finfo(dtype).eps
            torch.testing.assert_close(b, a, rtol=0, atol=close * float(a.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_image_is_read_from_a_copy(level, layout, padding, dtype):
    """Turned, so that samples climb; as a whole, in part, and so small that its pixels are many."""
    torch.manual_seed(1)
    x = torch.randn(2, 3, 520, 510).to(dtype).contiguous(memory_format=layout)
    turn = torch.tensor([[0.3, -0.9, 0.1], [0.9, 0.3, 0.2]])
    for scale, size in ((1.2, (300, 520)), (0.2, (70, 80)), (1.0, (40, 50)), (-3.0, (270, 40))):
        theta = (scale * turn).expand(2, 2, 3)
        grid = pyfast.affine_grid(theta, (2, 3, *size))
        without, with_gathers = results(x, grid, padding, False)
        for a, b in zip(without, with_gathers, strict=True):
            close = 1e-6 if a.dtype == torch.float32 else torch.finfo(dtype).eps
            torch.testing.assert_close(b, a, rtol=0, atol=close * float(a.abs().max()))


def test_what_follows_a_run_is_read_in_the_copy_too(level):
    """Gigabytes before it lies where the image would begin: memory of nobody."""
    x = torch.empty(1, 1, 2**23, 64)  # of which the system gives what is touched
    theta = torch.tensor([[[0.3, 0.0, 0.0], [12e-6, 12e-6, 0.9]]])
    assert pyfast.affine_grid_sample(x, theta, (37, 101)).shape == (1, 1, 37, 101)


def test_what_lies_outside_spoils_nothing(level):
    """Infinite pixels at the edge and positions that are not numbers."""
    x = torch.full((1, 1, 9, 9), torch.inf)
    x[..., 1:-1, 1:-1] = 1.0
    grid = torch.tensor([[-3.0, 0.0], [0.0, 2.5], [0.0, 0.0], [torch.nan, 0.0]]).view(1, 1, 4, 2)
    for padding in ("zeros", "border"):
        without, with_gathers = results(x, grid, padding, False)
        torch.testing.assert_close(with_gathers[0], without[0], equal_nan=True)
    assert with_gathers[0][0, 0, 0, 2] == 1


def test_the_copy_of_an_image_that_repeats_one_row_is_near_too(level):
    """Offsets in the image are 0 then, and those in the copy must not count its far away rows."""
    _C.set_gathers(True)
    x = torch.rand(520).expand(1, 1, 2**24, 520)
    theta = torch.tensor([[[0.6, -0.6, 200.0], [0.6, 0.6, 2**24 - 400.0]]])
    found = pyfast.warp_affine(x, theta, (99, 130), inverse=True)
    theta[0, 1, 2] = 100.0
    near = pyfast.warp_affine(x[:, :, :520], theta, (99, 130), inverse=True)
    torch.testing.assert_close(found, near, rtol=1e-6, atol=0)  # fractions of y round differently


def test_positions_that_float32_rounds_far_away_are_read_in_the_copy(level):
    """Steps of four million pixels, whose rounding is 32; the other map makes a copy worth it."""
    step = 990000000 / 255
    far = [[step, 1.0, -255 * step], [0.0, 0.1, 20.0]]
    maps = torch.tensor([far, [[0.3, -0.9, 300.0], [0.9, 0.3, 20.0]]])
    x = torch.arange(520.0).expand(1, 1, 510, 520).contiguous()
    found = []
    for use in (False, True):
        _C.set_gathers(use)
        found.append(pyfast.warp_affine(x, maps, (226, 256), padding_mode="border", inverse=True))
    torch.testing.assert_close(*found)
    assert found[0][0, 0, :, 255].max() - found[0][0, 0, :, 255].min() > 200


@pytest.mark.parametrize("align", [False, True])
def test_a_border_clips_at_the_centres_of_the_outermost_pixels(level, align):
    """There as beyond a derivative is 0, also where all samples around lie in the image."""
    size = 513 if align else 512
    edge = 1.0 if align else 1 - 1 / size
    grid = torch.full((1, 6, 64, 2), 0.1)
    for row, place in enumerate([(-edge, 0.1), (0.1, -edge), (edge, 0.1), (0.1, edge)]):
        grid[0, row] = torch.tensor(place)
    without, with_gathers = results(torch.randn(1, 2, size, size), grid, "border", align)
    torch.testing.assert_close(with_gathers[2], without[2], rtol=1e-4, atol=1e-3)
    clipped = with_gathers[2][0] == 0
    assert clipped[:4].any(-1).all()
    assert not clipped[4:].any()


def test_threads_agree(level):
    x, grid = torch.randn(1, 3, 520, 510), random_grid(1, 300, 500)
    _C.set_gathers(True)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(pyfast.grid_sample(x, grid, align_corners=False))
    torch.set_num_threads(before)
    assert torch.equal(*found)
