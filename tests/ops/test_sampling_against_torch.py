"""Sampling against torch's own functions: values, gradients, odd sizes and odd numbers."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import pyfast
from pyfast.ops.sampling import affine_grid_reference, grid_sample_reference

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
OPTIONS = list(itertools.product(MODES, PADDINGS, (False, True)))
LAYOUTS = (torch.contiguous_format, torch.channels_last)
every_option = pytest.mark.parametrize(("mode", "padding", "align_corners"), OPTIONS)

pytestmark = pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior")


def torch_fused(input, theta, size, mode, padding, align_corners):
    grid = F.affine_grid(theta, (theta.shape[0], 1, *size), align_corners)
    return F.grid_sample(
        input.expand(theta.shape[0], -1, -1, -1), grid, mode, padding, align_corners
    )


def torch_sample(input, grid, mode, padding, align_corners):
    return F.grid_sample(
        input.expand(grid.shape[0], -1, -1, -1), grid, mode, padding, align_corners
    )


def evaluate(function, input, places, *options):
    """Result, and gradients of a fixed weighting of it."""
    input, places = (t.detach().requires_grad_() for t in (input, places))
    result = function(input, places, *options)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    grads = torch.autograd.grad(
        result, (input, places), weights, allow_unused=True, materialize_grads=True
    )
    return result.detach(), *grads


def assert_same(ours, theirs, tolerance):
    for name, a, b in zip(("result", "grad of input", "grad of places"), ours, theirs, strict=True):
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        assert_close(a, b, rtol=0, atol=tolerance * scale, msg=lambda text, n=name: f"{n}: {text}")


def random_theta(batch, zoom=1.0, dtype=torch.float64):
    return (torch.eye(2, 3) * zoom + 0.3 * torch.randn(batch, 2, 3)).to(dtype)


# --- sizes, channels, layouts ---------------------------------------------------------------------

SHAPES = [
    # (N, C, H, W), (H_out, W_out)
    ((2, 1, 1, 1), (1, 1)),
    ((2, 1, 1, 1), (5, 7)),
    ((1, 2, 1, 9), (4, 3)),
    ((3, 3, 9, 1), (1, 13)),
    ((2, 4, 2, 2), (17, 1)),
    ((1, 5, 31, 37), (29, 23)),
    ((2, 3, 16, 16), (16, 16)),
    ((2, 8, 15, 17), (15, 33)),
    ((1, 15, 7, 11), (5, 19)),
    ((2, 16, 12, 10), (9, 31)),
    ((1, 17, 13, 8), (11, 16)),
    ((1, 21, 8, 13), (7, 17)),
    ((2, 32, 9, 9), (8, 15)),
    ((1, 33, 6, 14), (13, 6)),
    ((4, 1, 28, 28), (28, 28)),
    ((1, 3, 64, 300), (3, 263)),  # longer than one run of pixels
]


@every_option
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_values_and_gradients_of_every_shape(mode, padding, align_corners, layout):
    torch.manual_seed(0)
    options = (mode, padding, align_corners)
    for shape, size in SHAPES:
        input = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
        theta = random_theta(shape[0])
        assert_same(
            evaluate(pyfast.affine_grid_sample, input, theta, size, *options),
            evaluate(torch_fused, input, theta, size, *options),
            1e-11,
        )
        grid = F.affine_grid(theta, (shape[0], 1, *size), align_corners)
        grid = grid + 0.1 * torch.randn_like(grid)
        assert_same(
            evaluate(pyfast.grid_sample, input, grid, *options),
            evaluate(torch_sample, input, grid, *options),
            1e-11,
        )


@every_option
@pytest.mark.parametrize(
    ("shape", "places"),
    [((0, 3, 5, 6), 0), ((1, 3, 5, 6), 0), ((2, 0, 5, 6), 2), ((1, 0, 5, 6), 2)],
)
def test_empty_batches_and_channels(mode, padding, align_corners, shape, places):
    """torch's samplers refuse most of them: the gradients are zero, as sums of nothing."""
    input = torch.randn(shape)
    options = (mode, padding, align_corners)
    for function, where, extra in [
        (pyfast.affine_grid_sample, torch.randn(places, 2, 3), ((4, 7),)),
        (pyfast.grid_sample, torch.randn(places, 4, 7, 2), ()),
        (pyfast.grid_sample, torch.randn(places, 0, 7, 2), ()),
    ]:
        result, grad_input, grad_places = evaluate(function, input, where, *extra, *options)
        assert result.shape == (places, shape[1], *(extra[0] if extra else where.shape[1:3]))
        assert_close(grad_input, torch.zeros_like(input))
        assert_close(grad_places, torch.zeros_like(where))


@every_option
@pytest.mark.parametrize(
    ("zoom", "size"), [(0.1, (9, 70)), (1.0, (40, 40)), (3.0, (5, 9)), (40.0, (33, 33))]
)
def test_magnification_crops_and_strong_reduction(mode, padding, align_corners, zoom, size):
    torch.manual_seed(1)
    input = torch.randn(2, 3, 61, 53, dtype=torch.float64)
    theta = random_theta(2, zoom)
    options = (size, mode, padding, align_corners)
    assert_same(
        evaluate(pyfast.affine_grid_sample, input, theta, *options),
        evaluate(torch_fused, input, theta, *options),
        1e-11,
    )


@every_option
@pytest.mark.parametrize("channels", [1, 3, 16, 33])
def test_one_image_for_many_thetas(mode, padding, align_corners, channels):
    torch.manual_seed(2)
    input = torch.randn(1, channels, 12, 11, dtype=torch.float64)
    options = ((9, 13), mode, padding, align_corners)
    theta = random_theta(5)
    assert_same(
        evaluate(pyfast.affine_grid_sample, input, theta, *options),
        evaluate(torch_fused, input, theta, *options),
        1e-11,
    )
    grid = F.affine_grid(theta, (5, 1, 9, 13), align_corners)
    assert_same(
        evaluate(pyfast.grid_sample, input, grid, *options[1:]),
        evaluate(torch_sample, input, grid, *options[1:]),
        1e-11,
    )


@pytest.mark.slow
@every_option
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_channel_count_up_to_40(mode, padding, align_corners, layout):
    torch.manual_seed(3)
    for channels in range(1, 41):
        input = torch.randn(2, channels, 13, 18, dtype=torch.float64)
        input = input.contiguous(memory_format=layout)
        options = ((11, 19), mode, padding, align_corners)
        theta = random_theta(2)
        assert_same(
            evaluate(pyfast.affine_grid_sample, input, theta, *options),
            evaluate(torch_fused, input, theta, *options),
            1e-11,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [8, 15, 16, 17, 24, 33, 64])
def test_many_channels_are_transposed_whole_and_in_parts(channels, dtype):
    """Around the 16 pixels of 16 channels that registers transpose, and the tiles' 64 and 128."""
    torch.manual_seed(8)
    for size in [(3, 5), (16, 16), (5, 37), (66, 150)]:
        input, theta = torch.randn(2, channels, *size).to(dtype), random_theta(2).float()
        ours = pyfast.affine_grid_sample(input, theta, size)
        expected = pyfast.affine_grid_sample(input.double(), theta.double(), size)
        error = (ours.double() - expected).abs().max()
        assert error < (2e-4 if dtype == torch.float32 else 2e-2)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, in its own vmap
@pytest.mark.parametrize("size", [(2, 1, 3, 4), (2, 1, 2, 3, 4)], ids=str)
def test_affine_grid_has_forward_derivatives(size):
    dims = len(size) - 2
    theta, tangent = torch.randn(2, 2, dims, dims + 1, dtype=torch.float64)
    found, expected = [], []
    for results, module in ((found, pyfast), (expected, F)):

        def grid(theta, module=module):
            return module.affine_grid(theta, size, align_corners=False)

        results.append(torch.func.jvp(grid, (theta,), (tangent,))[1])
        results.append(torch.func.hessian(lambda theta: grid(theta).pow(3).sum())(theta))
    assert_close(found, expected)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_grid(dtype, align_corners):
    torch.manual_seed(4)
    for size in [(1, 1), (1, 7), (16, 1), (15, 17), (31, 64), (3, 263)]:
        theta = torch.randn(3, 2, 3, dtype=dtype, requires_grad=True)
        ours = pyfast.affine_grid(theta, (3, 2, *size), align_corners)
        theirs = F.affine_grid(theta, (3, 2, *size), align_corners)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        assert_close(ours, theirs, rtol=0, atol=5 * tolerance)
        weights = torch.linspace(-1, 1, ours.numel(), dtype=dtype).view(ours.shape)
        assert_close(
            torch.autograd.grad(ours, theta, weights),
            torch.autograd.grad(theirs, theta, weights),
            rtol=10 * tolerance,
            atol=10 * tolerance * ours.numel(),
        )


# --- volumes --------------------------------------------------------------------------------------

VOLUMES = [
    # (N, C, D, H, W), (D_out, H_out, W_out)
    ((2, 1, 1, 1, 1), (1, 1, 1)),
    ((1, 2, 1, 5, 9), (4, 3, 2)),
    ((2, 3, 6, 1, 7), (3, 5, 9)),
    ((1, 4, 5, 8, 1), (1, 6, 3)),
    ((2, 1, 9, 10, 11), (7, 8, 33)),
    ((1, 16, 6, 7, 8), (5, 9, 17)),
    ((1, 19, 4, 6, 5), (6, 4, 7)),
    ((1, 1, 3, 4, 300), (2, 3, 263)),
]


@pytest.mark.parametrize(
    ("mode", "padding", "align_corners"), [o for o in OPTIONS if o[0] != "bicubic"]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=str)
def test_volumes(mode, padding, align_corners, layout):
    torch.manual_seed(10)
    options = (mode, padding, align_corners)
    for shape, size in VOLUMES:
        input = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
        theta = torch.eye(3, 4) + 0.3 * torch.randn(shape[0], 3, 4)
        theta = theta.double()

        def fused(input, theta, size=size, shape=shape):
            grid = F.affine_grid(theta, (shape[0], 1, *size), align_corners)
            return F.grid_sample(input, grid, *options)

        assert_same(
            evaluate(pyfast.affine_grid_sample, input, theta, size, *options),
            evaluate(fused, input, theta),
            1e-11,
        )
        grid = F.affine_grid(theta, (shape[0], 1, *size), align_corners)
        assert_close(pyfast.affine_grid(theta, (shape[0], 1, *size), align_corners), grid)
        grid = grid + 0.1 * torch.randn_like(grid)
        assert_same(
            evaluate(pyfast.grid_sample, input, grid, *options),
            evaluate(F.grid_sample, input, grid, *options),
            1e-11,
        )


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
@every_option
def test_a_flow_is_an_identity_grid_plus_the_flow(mode, padding, align_corners, dims):
    if mode == "bicubic" and dims == 3:
        pytest.skip("bicubic is for images")
    torch.manual_seed(11)
    sides = (9, 12) if dims == 2 else (5, 9, 12)
    input = torch.randn(2, 3, *sides, dtype=torch.float64)
    flow = 3 * torch.randn(2, dims, *sides, dtype=torch.float64)

    def by_torch(input, flow):
        theta = torch.eye(dims, dims + 1, dtype=flow.dtype).expand(2, -1, -1)
        identity = F.affine_grid(theta, (2, 1, *sides), align_corners)
        lengths = torch.tensor(sides[::-1], dtype=flow.dtype)
        scale = 2 / (lengths - 1 if align_corners else lengths)
        grid = identity + flow.movedim(1, -1) * scale
        return F.grid_sample(input, grid, mode, padding, align_corners)

    assert_same(
        evaluate(pyfast.warp, input, flow, mode, padding, align_corners),
        evaluate(by_torch, input, flow),
        1e-10,
    )


@every_option
def test_a_homography_is_its_grid(mode, padding, align_corners):
    torch.manual_seed(12)
    for channels in (1, 3, 17):
        input = torch.randn(2, channels, 11, 14, dtype=torch.float64)
        matrix = torch.eye(3) + 0.2 * torch.randn(2, 3, 3)
        matrix = matrix.double()

        def by_torch(input, matrix):
            theta = torch.eye(2, 3, dtype=matrix.dtype).expand(2, -1, -1)
            base = F.affine_grid(theta, (2, 1, 9, 16), align_corners)
            points = torch.cat([base, torch.ones_like(base[..., :1])], -1) @ matrix[:, None].mT
            grid = points[..., :2] / points[..., 2:]
            return F.grid_sample(input, grid, mode, padding, align_corners)

        assert_same(
            evaluate(
                pyfast.homography_grid_sample, input, matrix, (9, 16), mode, padding, align_corners
            ),
            evaluate(by_torch, input, matrix),
            1e-9,
        )


# --- accuracy -------------------------------------------------------------------------------------

SMALL = [(16, 1, 28, 28), (8, 1, 60, 60), (4, 3, 64, 64), (2, 3, 224, 224), (1, 16, 56, 56)]
LARGE = [(16, 3, 224, 224), (1, 3, 1080, 1920), (8, 64, 128, 128), (4, 256, 56, 56)]
EXACTNESS = [
    *[pytest.param(shape, 5, id=str(shape)) for shape in [*SMALL, (1, 3, 270, 480)]],
    *[pytest.param(shape, 1, id=str(shape)) for shape in LARGE],
    *[pytest.param(shape, 5, id=f"{shape}-5", marks=pytest.mark.slow) for shape in LARGE],
]


@pytest.mark.parametrize(("shape", "seeds"), EXACTNESS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_float32_is_as_exact_as_torch(shape, seeds, padding):
    """The largest error against float64, over the seeds, is at most 1.1 times torch's."""
    options = (shape[2:], "bilinear", padding, False)
    errors = []  # for each seed and layout: fused ours, torch's; from a grid ours, torch's
    for seed in range(seeds):
        torch.manual_seed(seed)
        input, theta = torch.rand(shape), random_theta(shape[0], dtype=torch.float32)
        grid = F.affine_grid(theta, (shape[0], 1, *shape[2:]), False)
        exact = torch_fused(input.double(), theta.double(), *options)
        exact_of_grid = torch_sample(input.double(), grid.double(), *options[1:])
        for layout in LAYOUTS:
            input = input.contiguous(memory_format=layout)
            found = (
                pyfast.affine_grid_sample(input, theta, *options) - exact,
                torch_fused(input, theta, *options) - exact,
                pyfast.grid_sample(input, grid, *options[1:]) - exact_of_grid,
                torch_sample(input, grid, *options[1:]) - exact_of_grid,
            )
            errors.append([difference.abs().max().item() for difference in found])
    fused, torchs_fused, sampled, torchs_sampled = map(max, zip(*errors, strict=True))
    assert fused <= 1.1 * torchs_fused
    assert sampled <= 1.1 * torchs_sampled


@pytest.mark.parametrize("size", [(28, 28), (60, 60), (56, 56), (224, 224), (270, 480)], ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_grid_is_as_exact_as_torch_s(size, align_corners):
    errors = []  # for each seed: ours, torch's
    for seed in range(10):
        torch.manual_seed(seed)
        theta = random_theta(8, dtype=torch.float32)
        options = (8, 1, *size), align_corners
        exact = F.affine_grid(theta.double(), *options)
        grids = (f(theta, *options) for f in (pyfast.affine_grid, F.affine_grid))
        errors.append([(grid - exact).abs().max().item() for grid in grids])
    ours, torchs = map(max, zip(*errors, strict=True))
    assert ours <= 1.1 * torchs


# --- numbers that are none, and too large ones ----------------------------------------------------

ODD = [float("nan"), float("inf"), -float("inf"), 1e20, -1e20, 3e38, -3e38, 1e9, -3e9, 5e4]


ODDEST = "bilinear", "zeros"  # where NaN reaches the result; with "bicubic" it does in all paddings


def unknown(grid, mode):
    """Where there is no place: a coordinate is NaN, or for "bicubic" infinite in pixels, as an
    infinite position has no fraction."""
    nan = grid.isnan() | (grid.abs() > 1e30) if mode == "bicubic" else grid.isnan()
    return nan.any(-1)


@every_option
@pytest.mark.parametrize("channels", [1, 3, 17])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_coordinates(mode, padding, align_corners, channels, layout, dtype):
    """No crash, the documented result, and coordinates beside them are not disturbed."""
    torch.manual_seed(5)
    input = torch.rand(1, channels, 6, 7, dtype=dtype).contiguous(memory_format=layout)
    sane = torch.rand(1, 5, 37, 2, dtype=dtype) * 2 - 1
    grid = sane.clone()
    for i, value in enumerate(ODD):
        grid[0, 0, 3 * i, 0] = value
        grid[0, 1, 3 * i, 1] = value
        grid[0, 2, 3 * i] = value
    odd = (grid != sane).any(-1)
    options = (mode, padding, align_corners)
    result, grad_input, grad_grid = evaluate(pyfast.grid_sample, input, grid, *options)
    plain = evaluate(pyfast.grid_sample, input, sane, *options)
    assert_close(
        result[:, :, ~odd[0]],
        plain[0][:, :, ~odd[0]],
        rtol=0,
        atol=1e-5 if dtype == torch.float32 else 1e-12,
    )
    assert_close(grad_grid[~odd], plain[2][~odd], rtol=1e-4, atol=1e-4)
    is_nan = unknown(grid, mode)
    assert grad_input.isfinite().all() or mode == "bicubic" or (mode, padding) == ODDEST
    if padding == "zeros":
        outside = odd & ~is_nan
        assert (result[:, :, outside[0]] == 0).all()
        assert (grad_grid[outside] == 0).all()
    else:
        assert result[:, :, ~is_nan[0]].isfinite().all()
        overshoot = 2 if mode == "bicubic" else 1.0001
        assert (result[:, :, odd[0] & ~is_nan[0]] <= input.max() * overshoot).all()
    if mode == "bicubic" or (mode, padding) == ODDEST:
        assert result[:, :, grid.isnan().any(-1)[0]].isnan().all()


@every_option
def test_coordinates_that_are_not_numbers_give_what_torch_gives(mode, padding, align_corners):
    torch.manual_seed(6)
    input = torch.rand(1, 3, 6, 7)
    grid = torch.rand(1, 4, 37, 2) * 2 - 1
    grid[0, 0, ::3, 0] = float("nan")
    grid[0, 1, ::3, 1] = float("nan")
    grid[0, 2, ::3] = float("nan")
    options = (mode, padding, align_corners)
    assert_close(
        pyfast.grid_sample(input, grid, *options),
        F.grid_sample(input, grid, *options),
        equal_nan=True,
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_odd_coordinates_of_volumes(mode, padding, dtype, channels):
    """As in images, on every axis; torch's volumes differ from its images here."""
    input = torch.arange(1, 1 + channels * 5**3, dtype=dtype).view(1, channels, 5, 5, 5)
    grid = torch.full((1, 3, len(ODD), 1, 3), -1.0, dtype=dtype)
    for axis in range(3):
        grid[0, axis, :, 0, axis] = torch.tensor(ODD, dtype=dtype)
    result = pyfast.grid_sample(input, grid, mode, padding, True)[0, ..., 0]
    lost, infinite = result[..., 0], result[..., 1:3]
    if padding == "zeros":
        assert (result[..., 1:] == 0).all()
        assert lost.isnan().all() if mode == "bilinear" else (lost == 0).all()
        return
    assert (lost == input[0, :, :1, 0, 0]).all()
    assert infinite.isfinite().all()
    if padding == "border":
        last = torch.stack([input[0, :, 0, 0, 4], input[0, :, 0, 4, 0], input[0, :, 4, 0, 0]], 1)
        assert (infinite[..., 0] == last).all()
        assert (infinite[..., 1] == lost).all()


@every_option
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_thetas(mode, padding, align_corners, dtype):
    """The fused call gives what grid and sampler give one after the other."""
    torch.manual_seed(7)
    input = torch.rand(1, 3, 6, 7, dtype=dtype)
    theta = random_theta(6 * len(ODD), dtype=dtype)
    for i, (entry, value) in enumerate(itertools.product(range(6), ODD)):
        theta[i].view(-1)[entry] = value
    options = (mode, padding, align_corners)
    fused = evaluate(pyfast.affine_grid_sample, input, theta, (5, 9), *options)
    grid = pyfast.affine_grid(theta, (len(theta), 3, 5, 9), align_corners)
    two_steps = pyfast.grid_sample(input, grid, *options)
    # Where positions are known to a fraction of a pixel at all, both agree.
    known = grid.abs().amax((1, 2, 3)) < 1e3
    assert known.sum() == 0 or torch.allclose(fused[0][known], two_steps[known], atol=1e-3)
    is_nan = unknown(grid, mode)
    outside = (grid.abs() > 1e6).any(-1) & ~is_nan
    assert not fused[0].isinf().any()
    if padding == "zeros":
        assert (fused[0].movedim(1, -1)[outside] == 0).all()
    else:
        assert fused[0].movedim(1, -1)[~is_nan].isfinite().all()
    if mode == "bicubic" or (mode, padding) == ODDEST:
        assert fused[0].movedim(1, -1)[grid.isnan().any(-1)].isnan().all()


@every_option
@pytest.mark.parametrize("channels", [1, 3, 16, 21])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_odd_pixels_reach_only_the_samples_next_to_them(
    mode, padding, align_corners, channels, layout, odd
):
    torch.manual_seed(8)
    input = torch.rand(2, channels, 14, 19, dtype=torch.float64)
    input[0, 0, 4, 5] = odd
    input[1, -1, 0, 0] = odd
    input[0, :, 13, 18] = odd
    input = input.contiguous(memory_format=layout)
    theta = random_theta(2, 0.9)
    options = ((15, 18), mode, padding, align_corners)
    ours = evaluate(pyfast.affine_grid_sample, input, theta, *options)
    theirs = evaluate(torch_fused, input, theta, *options)
    assert_close(ours[0], theirs[0], equal_nan=True, rtol=1e-9, atol=1e-9)
    # Infinity times a zero of the base grid: which entries of a gradient are NaN is left open.
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert_close(a.isfinite(), b.isfinite())
        assert_close(a[a.isfinite()], b[a.isfinite()], rtol=1e-9, atol=1e-9)
    # Samples exactly on pixels: their neighbours have weight zero.
    identity = torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3)
    options = ((14, 19), mode, padding, align_corners)
    if mode == "nearest":
        assert_close(pyfast.affine_grid_sample(input, identity, *options), input, equal_nan=True)


# --- what is kept for the gradient ----------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
def test_fused_calls_keep_their_arguments_only(dims):
    sides, out = (9, 9, 9)[:dims], (30, 30, 30)[:dims]
    input = torch.rand(2, 3, *sides, requires_grad=True)
    eye = torch.eye(dims + 1).repeat(2, 1, 1)
    calls = [
        (pyfast.affine_grid_sample, eye[:, :-1].clone(), (out,)),
        (pyfast.warp_affine, eye[:, :-1].clone(), (out, "bilinear", "zeros", False)),
        (pyfast.warp, torch.rand(2, dims, *out), ()),
    ]
    if dims == 2:
        calls.append((pyfast.homography_grid_sample, eye, (out,)))
        calls.append((pyfast.warp_perspective, eye.clone(), (out,)))
    for function, places, more in calls:
        kept = []
        places.requires_grad_()
        options = {"inverse": True} if function.__name__.startswith("warp_") else {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # noqa: B023
            function(input, places, *more, **options)
        found = sorted(t.data_ptr() for t in kept)
        assert found == sorted((input.data_ptr(), places.data_ptr())), function


# --- our definitions ------------------------------------------------------------------------------


@every_option
def test_the_definitions_are_those_of_torch(mode, padding, align_corners):
    torch.manual_seed(9)
    for shape, size in SHAPES[:9]:
        input = torch.randn(shape, dtype=torch.float64)
        theta = random_theta(shape[0])
        grid = F.affine_grid(theta, (shape[0], 1, *size), align_corners)
        ours = affine_grid_reference(theta, (shape[0], 1, *size), align_corners)
        assert_close(ours, grid, rtol=0, atol=1e-12)
        assert_same(
            evaluate(grid_sample_reference, input, grid, mode, padding, align_corners),
            evaluate(torch_sample, input, grid, mode, padding, align_corners),
            1e-11,
        )
