"""The case table of the matting Laplacian: matrix, products, energy."""

import numpy as np
import promises
import pytest
import torch

import pyfast
from pyfast.ops import _matting_operators as operators
from pyfast.ops import _matting_reference as reference
from pyfast.ops import matting
from pyfast.testing import BadCall, OpCase, checks

WINDOW = (1e-4, 1)


def planes(batch, count, size, radius=1):
    """Of a shape that is no square and holds a window."""
    least = 2 * radius + 1
    return torch.rand(batch, count, least + size // 2, least - 1 + size, dtype=torch.float64)


def energy_inputs(channels, radius):
    def inputs(batch, size):
        image = planes(batch, channels, size, radius)
        return planes(batch, 2, size, radius), image, 1e-4, radius

    return inputs


V, IMAGE = torch.rand(2, 3, 5, 6), torch.rand(2, 3, 5, 6)


def bad(what, call, error, match):
    return BadCall(what, call, error, match)


ENERGY_ERRORS = (
    bad("an array", lambda: pyfast.matting_energy(np.ones((1, 5, 6)), IMAGE), TypeError, "v to be"),
    bad("integers", lambda: pyfast.matting_energy(V.int(), IMAGE), TypeError, "v of float32 or"),
    bad(
        "two dtypes", lambda: pyfast.matting_energy(V, IMAGE.double()), TypeError, "the dtype of v"
    ),
    bad("no channel", lambda: pyfast.matting_energy(V[0, 0], IMAGE), ValueError, "v of shape"),
    bad(
        "another size",
        lambda: pyfast.matting_energy(V, IMAGE[..., 1:]),
        ValueError,
        r"expected image of shape \(D, 5, 6\) or \(2, D, 5, 6\), got \(2, 3, 5, 5\)",
    ),
    bad("one v", lambda: pyfast.matting_energy(V[0], IMAGE), ValueError, r"\(D, 5, 6\)"),
    bad("too small", lambda: pyfast.matting_energy(V, IMAGE, 1e-7, 3), ValueError, "least 7 x 7"),
    bad(
        "no epsilon", lambda: pyfast.matting_energy(V, IMAGE, 0.0), ValueError, "epsilon to be pos"
    ),
    bad("a word", lambda: pyfast.matting_energy(V, IMAGE, "1"), TypeError, "epsilon to be a num"),
    bad("NaN", lambda: pyfast.matting_energy(V, IMAGE, float("nan")), ValueError, "epsilon"),
    bad("radius 0", lambda: pyfast.matting_energy(V, IMAGE, 1e-7, 0), ValueError, "radius from 1"),
    bad("half", lambda: pyfast.matting_energy(V, IMAGE, 1e-7, 1.5), TypeError, "radius to be an i"),
)


def energy_cases():
    for channels, radius in ((3, 1), (1, 1), (2, 2)):
        is_first = (channels, radius) == (3, 1)
        yield OpCase(
            op="matting_energy",
            name=f"{channels}-channels-radius-{radius}",
            function=pyfast.matting_energy,
            reference=reference.matting_energy_reference,
            inputs=energy_inputs(channels, radius),
            operators=("pyfast::matting_energy", "pyfast::matting_energy_backward"),
            differentiable=(0, 1),
            tiles=(64,),
            large=150,
            small=2,
            inductor=is_first,
            bad_calls=ENERGY_ERRORS if is_first else (),
        )


def product_inputs(batch, size):
    return planes(batch, 2, size), planes(batch, 3, size)


CASES = [
    *energy_cases(),
    OpCase(
        op="matting_product",
        name="plain",
        function=lambda v, image: operators.product(v, image, *WINDOW),
        reference=lambda v, image: reference.matting_product_reference(v, image, *WINDOW),
        inputs=product_inputs,
        operators=("pyfast::matting_product", "pyfast::matting_slope"),
        differentiable=(0, 1),
        tiles=(64,),
        large=150,
        small=2,
    ),
    OpCase(
        op="matting_diagonal",
        name="plain",
        function=lambda image: torch.ops.pyfast.matting_diagonal(image, *WINDOW),
        reference=lambda image: (
            torch.stack(
                [reference.matting_laplacian_reference(i, *WINDOW).diagonal() for i in image]
            ).view(-1, *image.shape[2:])
            if len(image)
            else image[:, 0]
        ),
        inputs=lambda batch, size: (planes(batch, 3, size),),
        operators=("pyfast::matting_diagonal",),
        dtypes=(torch.float64,),
        autocast=None,
        large=40,
    ),
]


def is_slow(case, promise):
    return promise in {"opcheck", "compile", "export"} and not case.inductor


@promises.every(checks(CASES, on=("cpu",)), is_slow)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


def test_energy_takes_one_image_for_a_batch_and_one_of_each():
    v, image = torch.rand(3, 2, 6, 7), torch.rand(3, 6, 7)
    each = torch.stack([pyfast.matting_energy(one, image) for one in v])
    torch.testing.assert_close(pyfast.matting_energy(v, image), each)
    torch.testing.assert_close(pyfast.matting_energy(v, image[None]), each)
    assert matting.matting_energy(v[0], image).shape == ()


def test_the_gradient_of_another_type_is_refused():
    """Its memory would be read as doubles."""
    v = torch.rand(2, 1, 6, 7, dtype=torch.float64)
    _, product, slope = torch.ops.pyfast.matting_energy(v, v, *WINDOW, True, True)
    saved = v, v, product, slope
    for grad, of_image in ((torch.ones(2), slope), (v[:, 0, 0, 0], slope.float())):
        with pytest.raises(RuntimeError, match="the batch, dtype and device of v"):
            torch.ops.pyfast.matting_energy_backward(grad, *saved[:3], of_image, *WINDOW)
