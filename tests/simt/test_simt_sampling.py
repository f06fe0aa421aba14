"""Every CUDA kernel of the sampling family, run on the host and compared with torch."""

import itertools
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sampling_cases import (
    LAYOUTS,
    PADDINGS,
    SCHEDULES,
    SOURCES,
    SUMS,
    Case,
    grids,
    image,
    modes,
    somewhere,
    strided,
    thetas,
)

KERNELS = "simt_sampling"
pytestmark = pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
DIMS_AND_SOURCES = [(2, source) for source in SOURCES] + [(3, source) for source in SOURCES[:3]]
SIZES = {2: ((7, 9), (6, 10)), 3: ((5, 6, 7), (4, 5, 6))}  # of input and output


def coordinates(source: str) -> list[tuple[bool, bool]]:
    """align_corners and pixels; a flow is in pixels anyhow."""
    return list(itertools.product([False, True], [False] if source == "flow" else [False, True]))


@pytest.mark.parametrize("dtype", SUMS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dims", "source"), DIMS_AND_SOURCES)
def test_options_and_layouts(
    kernels: ModuleType, dims: int, source: str, layout: str, dtype: str
) -> None:
    in_size, out_size = SIZES[dims]
    for mode, padding, (align, pixels) in itertools.product(
        modes(dims), PADDINGS, coordinates(source)
    ):
        where = somewhere(source, 2, in_size, out_size, align=align, pixels=pixels)
        Case(
            image(2, 5, *in_size),
            where,
            out_size,
            source,
            mode,
            padding,
            align,
            pixels,
            layout,
            dtype,
        ).check(kernels)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("dims", "source"), DIMS_AND_SOURCES)
def test_schedules(kernels: ModuleType, dims: int, source: str, layout: str, schedule: str) -> None:
    in_size, out_size = ((9, 34), (8, 33)) if dims == 2 else ((4, 5, 34), (3, 5, 33))
    where = somewhere(source, 2, in_size, out_size)
    for seed, (channels, mode) in enumerate([(1, "bilinear"), (12, modes(dims)[-1])]):
        kernels.set_schedule(schedule, seed)
        case = Case(image(2, channels, *in_size), where, out_size, source, mode, layout=layout)
        case.check(kernels)


# A tile is 32 x 4 pixels, narrower and taller for narrow images.
TILE_SIZES = [(1, 1), (1, 40), (40, 1), (3, 31), (4, 32), (5, 33), (9, 8), (8, 17), (13, 67)]
TILE_VOLUMES = [(1, 1, 1), (2, 1, 40), (3, 2, 31), (1, 4, 32), (2, 3, 33), (5, 7, 8)]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("dims", "source"), DIMS_AND_SOURCES)
def test_sizes_around_tiles(
    kernels: ModuleType, dims: int, source: str, layout: str, padding: str
) -> None:
    sizes = TILE_SIZES if dims == 2 else TILE_VOLUMES
    for (in_size, out_size), align in itertools.product(
        zip(sizes, sizes[3:] + sizes[:3], strict=True), [False, True]
    ):
        if source == "flow" and align and 1 in in_size:
            continue  # grid_sample then knows one position only
        for mode in modes(dims):
            where = somewhere(source, 1, in_size, out_size, scale=0.7)
            case = Case(image(1, 3, *in_size), where, out_size, source, mode, padding, align)
            case.layout = layout
            case.check(kernels)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_several_tiles_a_block(kernels: ModuleType, layout: str) -> None:
    for channels, inputs, padding in ((1, 2, "border"), (3, 1, "zeros"), (8, 2, "reflection")):
        for source in ("affine", "flow"):
            where = somewhere(source, 2, (61, 35), (37, 70))
            input = image(inputs, channels, 61, 35)
            Case(input, where, (37, 70), source, padding=padding, layout=layout).check(kernels)
        many = thetas(9, scale=0.5)
        if inputs == 1:
            Case(input, many, (5, 7), "affine", padding=padding, layout=layout).check(kernels)


@pytest.mark.parametrize("dtype", SUMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels(kernels: ModuleType, layout: str, dtype: str) -> None:
    """Around the vectors, the groups of a thread and the threads that share a pixel."""
    for channels in (1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 36, 70, 132, 260):
        for dims, source, mode in (
            (2, "affine", "bilinear"),
            (2, "grid", "bicubic"),
            (3, "affine", "bilinear"),
            (3, "flow", "nearest"),
        ):
            in_size, out_size = ((4, 5), (5, 3)) if dims == 2 else ((2, 3, 3), (2, 2, 3))
            where = somewhere(source, 2, in_size, out_size)
            input = image(2, channels, *in_size)
            Case(input, where, out_size, source, mode, layout=layout, dtype=dtype).check(kernels)


@pytest.mark.parametrize("count", [1, 3, 8, 9, 130])
def test_one_input_for_many_outputs(kernels: ModuleType, count: int) -> None:
    for (dims, source), padding in itertools.product(DIMS_AND_SOURCES, PADDINGS):
        in_size, out_size = ((6, 5), (4, 5)) if dims == 2 else ((2, 3, 4), (3, 2, 3))
        where = somewhere(source, count, in_size, out_size)
        Case(image(1, 2, *in_size), where, out_size, source, padding=padding).check(kernels)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_affine_grid(kernels: ModuleType, align: bool, schedule: str) -> None:
    kernels.set_schedule(schedule)
    sizes = [*TILE_SIZES, (0, 3), (3, 0), *TILE_VOLUMES, (0, 2, 2), (2, 2, 0)]
    for size, real in itertools.product(sizes, (np.float32, np.float64)):
        dims = len(size)
        theta = thetas(3, dims).astype(real)
        volume = (3, *[1] * (3 - dims), *size, dims)
        grid = np.full(volume, np.nan, real)
        assert kernels.affine_grid(theta, grid, align) == 0
        values = np.random.default_rng(1).standard_normal(volume).astype(real)
        grad_grid = np.moveaxis(strided(np.moveaxis(values, -1, 1)), 1, -1)
        grad_theta = np.full_like(theta, np.nan)
        assert kernels.affine_grid_backward(grad_grid, grad_theta, align) == 0
        if 0 in size:
            assert (grad_theta == 0).all()
            continue
        theta_64 = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        expected = F.affine_grid(theta_64, [3, 1, *size], align_corners=align)
        (expected_grad,) = torch.autograd.grad(
            expected, theta_64, torch.tensor(values, dtype=torch.float64).reshape(expected.shape)
        )
        tolerance = 1e-12 if real == np.float64 else 1e-6
        found = grid.reshape(expected.shape)
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=4 * tolerance)
        scale = 1 + int(np.prod(size))
        np.testing.assert_allclose(grad_theta, expected_grad.numpy(), atol=tolerance * scale)


@pytest.mark.parametrize(
    ("dims", "source", "mode"),
    [(dims, source, mode) for dims, source in DIMS_AND_SOURCES for mode in modes(dims)],
)
def test_counts(kernels: ModuleType, dims: int, source: str, mode: str) -> None:
    """What the design promises: launches, and where there are atomic operations."""
    in_size, out_size = ((9, 40), (8, 33)) if dims == 2 else ((3, 4, 20), (2, 5, 33))
    where = somewhere(source, 2, in_size, out_size)
    case = Case(image(2, 3, *in_size), where, out_size, source, mode)

    def launches_and_atomics() -> tuple[int, int]:
        counters = kernels.take_counters()
        return counters["launches"], counters["atomics"]

    case.forward(kernels)
    assert launches_and_atomics() == (1, 0)
    case.backward(kernels, of_input=False)
    of_matrix = 2 * (source in ("affine", "homography"))
    assert launches_and_atomics() == (0 if mode == "nearest" else of_matrix or 1, 0)
    case.backward(kernels, of_where=False)
    launches, atomics = launches_and_atomics()
    assert launches == 1
    if source == "affine" and dims == 2 and mode != "bicubic":
        assert atomics == 0
        return
    taps = {"bilinear": 2, "nearest": 1, "bicubic": 4}[mode] ** dims
    assert 0 < atomics <= taps * case.grad_output.size
    # Largest gradients, the scatter, the rounding; last what is not finite, which is nothing.
    case.backward(kernels, of_where=False, deterministic=True)
    launches, more_atomics = launches_and_atomics()
    assert launches == 4
    assert atomics < more_atomics <= atomics + 2 * case.grad_output.size


@pytest.mark.parametrize("dtype", SUMS)
@pytest.mark.parametrize(("dims", "source"), DIMS_AND_SOURCES)
def test_bitwise_the_same_in_every_order(
    kernels: ModuleType, dims: int, source: str, dtype: str
) -> None:
    in_size, out_size = ((9, 40), (8, 33)) if dims == 2 else ((3, 4, 20), (2, 5, 33))
    where = somewhere(source, 5, in_size, out_size)
    for padding, mode in ((p, m) for p in PADDINGS for m in modes(dims)):
        case = Case(image(1, 3, *in_size), where, out_size, source, mode, padding, dtype=dtype)
        results = []
        for schedule in SCHEDULES:
            kernels.set_schedule(schedule, 3)
            results.append(case.backward(kernels, deterministic=True))
        for other in results[1:]:
            for ours, theirs in zip(results[0], other, strict=True):
                assert np.array_equal(ours, theirs)


def test_grids_of_any_strides(kernels: ModuleType) -> None:
    """A grid whose x and y lie in different planes, as a flow's do."""
    case = Case(image(2, 3, 5, 6), grids(2, 4, 7), (4, 7), dtype="float32")
    case.layout = "reversed"
    case.check(kernels)
