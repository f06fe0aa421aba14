"""The case table of sampling."""

import itertools

import numpy as np
import pytest
import torch

import pyfast
from pyfast.ops import sampling
from pyfast.testing import BadCall, OpCase, check_op, checks

MODES = ("bilinear", "nearest")
PADDINGS = ("zeros", "border", "reflection")
OPTIONS = list(itertools.product(MODES, PADDINGS, (False, True)))


# --- places that stay away from the kinks ---------------------------------------------------------
# Nearest jumps half-way between two pixels and the gradient of bilinear at each of them. Positions
# in pixels are therefore drawn with a fraction between .1 and .4 or between .6 and .9.


def to_normalised(pixels, size, align_corners):
    if align_corners:
        return 2 * pixels / max(size - 1, 1) - 1
    return (2 * pixels + 1) / size - 1


def random_grid(batch, in_size, out_size, align_corners):
    def axis(length):
        whole = torch.randint(-2, length + 2, (batch, *out_size)).double()
        fraction = torch.rand(batch, *out_size, dtype=torch.float64) * 0.3
        fraction += torch.where(torch.rand(batch, *out_size) < 0.5, 0.1, 0.6)
        return to_normalised(whole + fraction, length, align_corners)

    return torch.stack([axis(in_size[1]), axis(in_size[0])], dim=-1)


def random_theta(batch, in_size, out_size, align_corners):
    """Maps with steps of quarter pixels: rotated, sheared, mirrored, larger and smaller."""
    steps = torch.randint(-6, 7, (batch, 2, 2)).double() / 4
    corner = torch.randint(-1, 3, (batch, 2)).double() + 0.11
    return theta_of_pixel_map(steps, corner, in_size, out_size, align_corners)


def theta_of_pixel_map(steps, corner, in_size, out_size, align_corners):
    """The theta that takes output pixel (i, j) to input pixel steps @ (j, i) + corner."""
    out_shift = torch.tensor([length - 1.0 for length in reversed(out_size)]).double()
    out_scale = out_shift if align_corners else out_shift + 1
    rows = []
    for axis, length in enumerate(reversed(in_size)):
        slope = steps[:, axis] * out_scale / 2
        middle = (steps[:, axis] * out_shift / 2).sum(1) + corner[:, axis]
        scale = 2 / (max(length - 1, 1) if align_corners else length)
        rows.append(
            torch.cat([slope * scale, to_normalised(middle, length, align_corners)[:, None]], 1)
        )
    return torch.stack(rows, dim=1)


def sizes_of(size):
    """Image and output of `size`: not square, and of different sizes."""
    return (size + 1, size), (size // 8 + 2, size)


# --- the case table -------------------------------------------------------------------------------


def grid_sample_inputs(align_corners):
    def inputs(batch, size):
        in_size, out_size = sizes_of(size)
        image = torch.randn(batch, 3, *in_size, dtype=torch.float64)
        return image, random_grid(batch, in_size, out_size, align_corners)

    return inputs


def affine_grid_sample_inputs(align_corners):
    def inputs(batch, size):
        in_size, out_size = sizes_of(size)
        image = torch.randn(batch, 3, *in_size, dtype=torch.float64)
        return image, random_theta(batch, in_size, out_size, align_corners), out_size

    return inputs


def nested(tensor, layout=torch.strided):
    return torch.nested.nested_tensor(list(tensor), layout=layout)


IMAGE, GRID, THETA = torch.ones(2, 3, 4, 5), torch.zeros(2, 6, 7, 2), torch.zeros(2, 2, 3)


def bad_calls(op, call, places, places_name, places_shape, more=()):
    """What every sampler refuses; `call(input, places, **options)`."""
    meta = IMAGE.to("meta")
    listed = {
        "an array for input": (
            lambda: call(IMAGE.numpy(), places),
            TypeError,
            "expected input to be a torch.Tensor, got numpy.ndarray",
        ),
        "a list for places": (
            lambda: call(IMAGE, places.tolist()),
            TypeError,
            f"expected {places_name} to be a torch.Tensor, got builtins.list",
        ),
        "None for input": (lambda: call(None, places), TypeError, "expected input to be a"),
        "input of rank 3": (
            lambda: call(IMAGE[0], places),
            ValueError,
            r"expected input of shape \(2, C, H, W\) or \(1, C, H, W\), got \(3, 4, 5\)",
        ),
        "input of rank 5": (lambda: call(IMAGE[None], places), ValueError, "expected input of sh"),
        "places of a wrong rank": (
            lambda: call(IMAGE, places[0]),
            ValueError,
            f"expected {places_name} of shape {places_shape}",
        ),
        "a wrong last dimension": (
            lambda: call(IMAGE, torch.cat([places, places], -1)),
            ValueError,
            f"expected {places_name} of shape {places_shape}",
        ),
        "another batch": (
            lambda: call(IMAGE.repeat(2, 1, 1, 1), places),
            ValueError,
            r"expected input of shape \(2, C, H, W\) or \(1, C, H, W\), got \(4, 3, 4, 5\)",
        ),
        "an image without rows": (
            lambda: call(IMAGE[:, :, :0], places),
            ValueError,
            "expected input of shape .* with H and W from 1 to",
        ),
        "integers": (
            lambda: call(IMAGE.long(), places),
            TypeError,
            "expected input of float32 or float64, got torch.int64",
        ),
        "half": (
            lambda: call(IMAGE.half(), places.half()),
            TypeError,
            "expected input of float32 or float64, got torch.float16",
        ),
        "two dtypes": (
            lambda: call(IMAGE, places.double()),
            TypeError,
            f"expected {places_name} of the dtype of input, torch.float32, got torch.float64",
        ),
        "two devices": (
            lambda: call(meta, places),
            ValueError,
            f"expected {places_name} on the device of input, meta, got cpu",
        ),
        "an unknown mode": (
            lambda: call(IMAGE, places, mode="cubic"),
            ValueError,
            "expected mode to be one of bilinear, nearest, got 'cubic'",
        ),
        "an unknown padding": (
            lambda: call(IMAGE, places, padding_mode="wrap"),
            ValueError,
            "expected padding_mode to be one of zeros, border, reflection, got 'wrap'",
        ),
        "a mode with a typing error": (
            lambda: call(IMAGE, places, mode="bilnear"),
            ValueError,
            "one of bilinear, nearest, got 'bilnear'; did you mean 'bilinear'",
        ),
        "a mode that is no string": (
            lambda: call(IMAGE, places, mode=["bilinear"]),
            ValueError,
            "expected mode to be one of",
        ),
        "an array for mode": (
            lambda: call(IMAGE, places, mode=np.array(["bilinear", "nearest"])),
            ValueError,
            "expected mode to be one of bilinear, nearest, got array",
        ),
        "an array for padding_mode": (
            lambda: call(IMAGE, places, padding_mode=np.array("zeros")),
            ValueError,
            "expected padding_mode to be one of",
        ),
        "an array for align_corners": (
            lambda: call(IMAGE, places, align_corners=np.array([True, False])),
            TypeError,
            "expected align_corners to be True, False or None, got array",
        ),
        "a word for align_corners": (
            lambda: call(IMAGE, places, align_corners="False"),
            TypeError,
            "expected align_corners to be True, False or None, got 'False'",
        ),
        "a sparse input": (
            lambda: call(IMAGE.to_sparse(), places),
            TypeError,
            "expected input to be a dense torch.Tensor, got one that is torch.sparse_coo",
        ),
        "sparse places": (
            lambda: call(IMAGE, places.to_sparse()),
            TypeError,
            f"expected {places_name} to be a dense torch.Tensor, got one that is torch.sparse_coo",
        ),
        "a nested input": (
            lambda: call(nested(IMAGE), places),
            TypeError,
            "expected input to be a dense torch.Tensor, got one that is nested",
        ),
        "nested places": (
            lambda: call(IMAGE, nested(places, torch.jagged)),
            TypeError,
            f"expected {places_name} to be a dense torch.Tensor, got one that is nested",
        ),
        **dict(more),
    }
    return tuple(
        BadCall(what, call, error, f"^{op}: .*{match}")
        for what, (call, error, match) in listed.items()
    )


def size_errors(op, call):
    """What every function with a size refuses; `call(size)` for theta of batch 2."""
    return {
        f"size {size!r}": (lambda size=size: call(size), error, match)
        for size, error, match in [
            ((2, 3, 0, 4), ValueError, "expected positive sizes, got"),
            ((2, 3, 4, -1), ValueError, "expected positive sizes, got"),
            ((2, 3, 4.0, 5), TypeError, "expected size to hold integers, got 4.0"),
            ((2, 3, "4", 5), TypeError, "expected size to hold integers, got '4'"),
            ((2, 3, True, 5), TypeError, "expected size to hold integers, got True"),
            ((2, 3, np.float32(4), 5), TypeError, "expected size to hold integers, got"),
            ((2, 3, [4], 5), TypeError, r"expected size to hold integers, got \[4\]"),
            ("2345", TypeError, "expected size to be a tuple of integers, got '2345'"),
            (b"2345", TypeError, "expected size to be a tuple of integers, got b'2345'"),
            (b"44", TypeError, "expected size to be a tuple of integers, got b'44'"),
            (np.array([2, 3, 4, 5]), TypeError, "expected size to be a tuple of integers, got"),
            ((3, 3, 4, 5), ValueError, "expected"),
            ((4,), ValueError, "expected size"),
            ((2, 3, 4, 5, 6), ValueError, "expected size"),
            ((2, 3, 2**40, 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, 2**30, 2**30), ValueError, "expected a size that memory can hold"),
            ((2, 3, *[np.int32(2**30)] * 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, 2**100, 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, -(2**100), 2), ValueError, "expected positive sizes, got"),
            (7, TypeError, "expected size"),
            (None, TypeError, "expected size"),
        ]
    }


def sampler_cases():
    for mode, padding, align_corners in OPTIONS:
        name = f"{mode}-{padding}-{'corners' if align_corners else 'edges'}"
        kwargs = {"mode": mode, "padding_mode": padding, "align_corners": align_corners}
        is_first = (mode, padding, align_corners) == OPTIONS[0]
        shared = {
            "name": name,
            "kwargs": kwargs,
            "differentiable": (0, 1),
            "keeps_channels_last": (0,),
            "tiles": (16, 256),
            "large": 301,
            # Position 300 is known to 2e-5 in float32, and neighbours differ by up to 8.
            "tolerances": {torch.float32: 2e-4},
            "inductor": is_first,
        }
        yield OpCase(
            op="grid_sample",
            function=pyfast.grid_sample,
            reference=sampling.grid_sample_reference,
            inputs=grid_sample_inputs(align_corners),
            unordered=("cuda",),
            operators=("pyfast::grid_sample", "pyfast::grid_sample_backward"),
            bad_calls=bad_calls("grid_sample", pyfast.grid_sample, GRID, "grid", r"\(N, H, W, 2\)")
            if is_first
            else (),
            **shared,
        )
        yield OpCase(
            op="affine_grid_sample",
            function=pyfast.affine_grid_sample,
            reference=sampling.affine_grid_sample_reference,
            inputs=affine_grid_sample_inputs(align_corners),
            operators=("pyfast::affine_grid_sample", "pyfast::affine_grid_sample_backward"),
            bad_calls=bad_calls(
                "affine_grid_sample",
                lambda input, theta, **options: pyfast.affine_grid_sample(
                    input, theta, (6, 7), **options
                ),
                THETA,
                "theta",
                r"\(N, 2, 3\)",
                size_errors(
                    "affine_grid_sample",
                    lambda size: pyfast.affine_grid_sample(IMAGE, THETA, size),
                ),
            )
            if is_first
            else (),
            **shared,
        )


def affine_grid_cases():
    for align_corners in (False, True):
        yield OpCase(
            op="affine_grid",
            name="corners" if align_corners else "edges",
            function=pyfast.affine_grid,
            reference=sampling.affine_grid_reference,
            inputs=lambda batch, size: (
                torch.randn(batch, 2, 3, dtype=torch.float64),
                (batch, 1, size // 8 + 2, size),
            ),
            kwargs={"align_corners": align_corners},
            operators=("pyfast::affine_grid", "pyfast::affine_grid_backward"),
            differentiable=(0,),
            tiles=(16, 256),
            large=301,
            empty_batch=False,
            inductor=not align_corners,
            bad_calls=affine_grid_bad_calls() if not align_corners else (),
        )


def affine_grid_bad_calls():
    size = (2, 1, 4, 5)
    listed = {
        "an array": (
            lambda: pyfast.affine_grid(THETA.numpy(), size),
            TypeError,
            "expected theta to be a torch.Tensor",
        ),
        "a sparse theta": (
            lambda: pyfast.affine_grid(THETA.to_sparse_csr(), size),
            TypeError,
            "expected theta to be a dense torch.Tensor, got one that is torch.sparse_csr",
        ),
        "a nested theta": (
            lambda: pyfast.affine_grid(nested(THETA), size),
            TypeError,
            "expected theta to be a dense torch.Tensor, got one that is nested",
        ),
        "a number for align_corners": (
            lambda: pyfast.affine_grid(THETA, size, align_corners=0.5),
            TypeError,
            "expected align_corners to be True, False or None, got 0.5",
        ),
        "integers": (
            lambda: pyfast.affine_grid(THETA.int(), size),
            TypeError,
            "expected theta of float32 or float64, got torch.int32",
        ),
        "rank 2": (
            lambda: pyfast.affine_grid(THETA[0], size),
            ValueError,
            r"expected theta of shape \(2, 2, 3\), got \(2, 3\)",
        ),
        "last dimension 4": (
            lambda: pyfast.affine_grid(torch.zeros(2, 2, 4), size),
            ValueError,
            r"expected theta of shape \(2, 2, 3\), got \(2, 2, 4\)",
        ),
        **size_errors("affine_grid", lambda size: pyfast.affine_grid(THETA, size)),
    }
    return tuple(
        BadCall(what, call, error, f"^affine_grid: .*{match}")
        for what, (call, error, match) in listed.items()
    )


CASES = [*sampler_cases(), *affine_grid_cases()]


def marked_checks():
    """What takes a second and hardly depends on the options is slow."""
    for case, promise, device in checks(CASES):
        marks = pytest.mark.slow if promise == "opcheck" and not case.inductor else ()
        yield pytest.param(case, promise, device, id=f"{case}-{promise}-{device}", marks=marks)


@pytest.mark.parametrize(("case", "promise", "device"), list(marked_checks()))
def test_promise(case, promise, device):
    verdict = check_op(case, only=[promise], device=device)[promise]
    if verdict != "kept":
        pytest.skip(verdict)
