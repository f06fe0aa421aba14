"""The case table of sampling: every function, mode, padding and dimension."""

import itertools

import promises
import torch
from sampling_bad_calls import (
    FLOW,
    GRID,
    IMAGE,
    SQUARE,
    THETA,
    affine_grid_bad_calls,
    bad_calls,
    size_errors,
    warp_errors,
)
from sampling_places import (
    random_flow,
    random_grid,
    random_homography,
    random_pixel_map,
    random_theta,
    to_pixel_homography,
)

import pyfast
from pyfast._native import _C
from pyfast.ops import sampling
from pyfast.testing import OpCase, checks

MODES = {2: ("bilinear", "nearest", "bicubic"), 3: ("bilinear", "nearest")}
PADDINGS = ("zeros", "border", "reflection")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Of sizes that the kernels treat differently: runs of pixels, tiles.
TILES = {2: (16, 256), 3: (8,)}
LARGE = {2: 301, 3: 40}


def sizes_of(size, dims):
    """Image and output of `size`: no two sides alike, and of different sizes."""
    sides = (size + 1, size), (size // 8 + 2, size)
    return sides if dims == 2 else ((size // 4 + 2, *sides[0]), (size // 4 + 1, *sides[1]))


def random_image(batch, in_size):
    return torch.randn(batch, 3, *in_size, dtype=torch.float64)


def fused_inputs(random_matrix, dims, align_corners):
    def inputs(batch, size):
        in_size, out_size = sizes_of(size, dims)
        matrix = random_matrix(batch, in_size, out_size, align_corners)
        return random_image(batch, in_size), matrix, out_size

    return inputs


def field_inputs(random_field, dims):
    def inputs(batch, size):
        in_size, out_size = sizes_of(size, dims)
        return random_image(batch, in_size), random_field(batch, in_size, out_size)

    return inputs


def pixel_affine(batch, in_size, out_size, align_corners):
    return random_pixel_map(batch, len(in_size))


def pixel_homography(batch, in_size, out_size, align_corners):
    return to_pixel_homography(
        random_homography(batch, in_size, out_size, False), in_size, out_size
    )


def sources(dims, align_corners):
    """What differs between the functions: (name, inputs, operator, further arguments)."""

    def grid(batch, in_size, out_size):
        return random_grid(batch, in_size, out_size, align_corners)

    yield "grid_sample", field_inputs(grid, dims), "grid_sample", {}
    yield "warp", field_inputs(random_flow, dims), "flow_sample", {}
    by_matrix = {
        "affine_grid_sample": (random_theta, {}),
        "warp_affine": (pixel_affine, {"inverse": True}),
    }
    if dims == 2:
        by_matrix["homography_grid_sample"] = random_homography, {}
        by_matrix["warp_perspective"] = pixel_homography, {"inverse": True}
    for name, (random_matrix, more) in by_matrix.items():
        inputs = fused_inputs(random_matrix, dims, align_corners)
        yield name, inputs, "matrix_sample", more


def sampler_cases():
    for dims in (2, 3):
        options = itertools.product(MODES[dims], PADDINGS, (False, True))
        for index, (mode, padding, align_corners) in enumerate(options):
            for name, inputs, operator, more in sources(dims, align_corners):
                is_first = dims == 2 and index == 0
                yield OpCase(
                    op=name,
                    name=f"{dims}d-{mode}-{padding}-{'corners' if align_corners else 'edges'}",
                    function=getattr(pyfast, name),
                    reference=getattr(sampling, f"{name}_reference"),
                    inputs=inputs,
                    kwargs={
                        "mode": mode,
                        "padding_mode": padding,
                        "align_corners": align_corners,
                        **more,
                    },
                    operators=(f"pyfast::{operator}", f"pyfast::{operator}_backward"),
                    differentiable=(0, 1),
                    dtypes=DTYPES,
                    keeps_channels_last=(0,),
                    tiles=TILES[dims],
                    large=LARGE[dims],
                    # Position 300 is known to 2e-5 in float32, and neighbours differ by up to 8,
                    # slopes of bicubic by more.
                    tolerances={torch.float32: 2e-3 if mode == "bicubic" else 2e-4},
                    unordered=("cuda",),
                    inductor=is_first,
                    bad_calls=BAD_CALLS[name] if is_first else (),
                )


def affine_grid_cases():
    for dims, align_corners in itertools.product((2, 3), (False, True)):

        def inputs(batch, size, dims=dims):
            theta = torch.randn(batch, dims, dims + 1, dtype=torch.float64)
            return theta, (batch, 1, *sizes_of(size, dims)[1])

        is_first = dims == 2 and not align_corners
        yield OpCase(
            op="affine_grid",
            name=f"{dims}d-{'corners' if align_corners else 'edges'}",
            function=pyfast.affine_grid,
            reference=sampling.affine_grid_reference,
            inputs=inputs,
            kwargs={"align_corners": align_corners},
            operators=("pyfast::affine_grid", "pyfast::affine_grid_backward"),
            differentiable=(0,),
            dtypes=DTYPES,
            tiles=TILES[dims],
            large=LARGE[dims],
            empty_batch=False,
            inductor=is_first,
            bad_calls=affine_grid_bad_calls() if is_first else (),
        )


def inverted_cases():
    """The matrix as OpenCV takes it, from the image to the output, as a change of the identity:
    what the checks do to an argument would leave many a matrix without inverse."""

    def inverse_of_affine(rows):
        last = torch.eye(3, dtype=rows.dtype)[2:].expand(len(rows), 1, 3)
        return torch.linalg.inv(torch.cat([rows, last], 1))[:, :2]

    for name, random_matrix in (
        ("warp_affine", lambda *a: inverse_of_affine(pixel_affine(*a))),
        ("warp_perspective", lambda *a: torch.linalg.inv(pixel_homography(*a))),
    ):

        def inputs(batch, size, random_matrix=random_matrix):
            in_size, out_size = sizes_of(size, 2)
            while True:
                try:
                    matrix = random_matrix(batch, in_size, out_size, False)
                except torch.linalg.LinAlgError:  # it squeezes the image into a line
                    continue
                change = matrix - torch.eye(3, dtype=torch.float64)[: matrix.shape[1]]
                return random_image(batch, in_size), change, out_size

        def changed(function):
            def call(image, change, size):
                identity = torch.eye(3, dtype=change.dtype, device=change.device)
                return function(image, identity[: change.shape[-2]] + change, size)

            return call

        yield OpCase(
            op=name,
            name="2d-from-image-to-output",
            function=changed(getattr(pyfast, name)),
            reference=changed(getattr(sampling, f"{name}_reference")),
            inputs=inputs,
            operators=(
                "pyfast::invert_maps",
                "pyfast::matrix_sample",
                "pyfast::matrix_sample_backward",
            ),
            differentiable=(0, 1),
            keeps_channels_last=(0,),
            tiles=(16,),
            large=40,
            autocast=None,  # it would round the sum
            unordered=("cuda",),
        )


def fused_bad_calls(name, matrix, matrix_name, form, more):
    def call(input, matrix, **options):
        return getattr(pyfast, name)(input, matrix, (6, 7), **options)

    sizes = size_errors(name, lambda size: getattr(pyfast, name)(IMAGE, matrix, size))
    return bad_calls(name, call, matrix, matrix_name, form, {**sizes, **more})


BAD_CALLS = {
    "grid_sample": bad_calls("grid_sample", pyfast.grid_sample, GRID, "grid", r"\(N, H, W, 2\)"),
    "warp": bad_calls(
        "warp",
        pyfast.warp,
        FLOW,
        "flow",
        r"\(N, 2, H, W\)",
        {
            "three coordinates in 2-D": (
                lambda: pyfast.warp(IMAGE, torch.zeros(2, 3, 6, 7)),
                ValueError,
                r"expected flow of shape \(N, 2, H, W\), got \(2, 3, 6, 7\)",
            )
        },
        "image",
        ("a wrong last dimension",),  # it is the width
    ),
    "affine_grid_sample": fused_bad_calls("affine_grid_sample", THETA, "theta", r"\(N, 2, 3\)", {}),
    "homography_grid_sample": fused_bad_calls(
        "homography_grid_sample", SQUARE, "matrix", r"\(N, 3, 3\)", {}
    ),
    "warp_affine": warp_errors("warp_affine", THETA, r"\(N, 2, 3\) or \(2, 3\)"),
    "warp_perspective": warp_errors("warp_perspective", SQUARE, r"\(N, 3, 3\) or \(3, 3\)"),
}

CASES = [*sampler_cases(), *affine_grid_cases(), *inverted_cases()]

# What takes long and hardly depends on the options, for the first case of each function alone.
ONCE = {"opcheck", "compile", "export", "capabilities"}
# What takes a while: of align_corners bilinear stands for the rest.
BILINEAR = {"sizes", "grad", "vmap(grad)", "gradgradcheck"}


def is_slow(case, promise):
    is_variant = case.name.endswith("corners") and "bilinear" not in case.name
    return (promise in ONCE and not case.inductor) or (promise in BILINEAR and is_variant)


@promises.every(checks(CASES), is_slow)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


def test_what_lies_behind_a_run_is_not_looked_up():
    """Tiles of 85 columns end within a register, and three rows of them one pixel before a run's.

    What is there depends on what was computed before: large gradients, in some threads.
    """
    before, gathers = torch.get_num_threads(), _C.gathers()
    try:
        _C.set_gathers(False)
        for number in range(60):
            torch.set_num_threads(1 + number % 3)
            image = torch.randn(1, 8, 40, 257, requires_grad=True)
            flow = (3 * torch.randn(1, 2, 40, 257)).requires_grad_()
            for channels, padding in itertools.product((8, 1, 4), ("zeros", "reflection")):
                out = pyfast.warp(image[:, :channels], flow, padding_mode=padding)
                torch.autograd.grad(out, (image, flow), 1e9 * torch.randn_like(out))
                assert out.isfinite().all()
    finally:
        torch.set_num_threads(before)
        _C.set_gathers(gathers)
