"""The array doors of foreground estimation and of the guided filter."""

import numpy as np
import pytest
import torch

import pyfast
from pyfast._native import _C

IMAGE = np.random.default_rng(0).random((1, 3, 20, 30))
ALPHA = np.random.default_rng(1).random((1, 1, 20, 30))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_doors_equal_the_operators(dtype):
    image, alpha = IMAGE.astype(dtype), ALPHA.astype(dtype)
    tensors = torch.from_numpy(image), torch.from_numpy(alpha)
    layers = _C.foreground(image, alpha)
    expected = pyfast.estimate_foreground(*tensors, return_background=True)
    for found, wanted in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(found, wanted.numpy())
    filtered = _C.guided_filter(image, alpha, 3, 0.01)
    np.testing.assert_array_equal(
        filtered, pyfast.guided_filter(*tensors, radius=3, epsilon=0.01).numpy()
    )


def test_pixels_last_are_read_and_written_where_they_lie():
    last = np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1))
    planes = last.transpose(0, 3, 1, 2)
    results = np.empty_like(last), np.empty_like(last)
    views = tuple(result.transpose(0, 3, 1, 2) for result in results)
    _C.foreground(planes, ALPHA, out=views)
    for found, wanted in zip(views, _C.foreground(IMAGE, ALPHA), strict=True):
        np.testing.assert_array_equal(found, wanted)
    _C.guided_filter(planes, planes, out=views[0])
    np.testing.assert_array_equal(views[0], _C.guided_filter(IMAGE, IMAGE))
    flipped = IMAGE[..., ::-1, ::-1]
    np.testing.assert_allclose(
        _C.guided_filter(flipped, flipped)[..., ::-1, ::-1], views[0], atol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: _C.foreground(IMAGE[0], ALPHA), ValueError, r"image of shape \(N, C, H, W\)"),
        (lambda: _C.foreground(IMAGE, IMAGE), ValueError, r"alpha of shape \(1, 1, 20, 30\)"),
        (lambda: _C.foreground(IMAGE, ALPHA.astype(np.float32)), TypeError, "alpha of"),
        (lambda: _C.foreground(IMAGE * np.nan, ALPHA), ValueError, "image to be finite"),
        (lambda: _C.foreground(IMAGE, ALPHA + np.inf), ValueError, "alpha to be finite"),
        (lambda: _C.foreground(IMAGE, ALPHA, 0), ValueError, "regularization to be positive"),
        (lambda: _C.foreground(IMAGE, ALPHA, "1"), TypeError, "regularization to be a number"),
        (lambda: _C.foreground(IMAGE, ALPHA, True), TypeError, "regularization to be a number"),
        (lambda: _C.foreground(IMAGE, ALPHA, 1, -1), ValueError, "gradient_weight not to be neg"),
        (lambda: _C.foreground(IMAGE, ALPHA, 1, 1, 2.5), TypeError, "small_iterations to be an in"),
        (lambda: _C.foreground(IMAGE, ALPHA, 1, 1, -2), ValueError, "small_iterations not to be"),
        (lambda: _C.guided_filter(ALPHA, IMAGE[..., 1:]), ValueError, "input of shape"),
        (
            lambda: _C.guided_filter(np.ones((1, 5, 4, 4)), ALPHA),
            ValueError,
            "guide of shape .* with C from 1 to 4",
        ),
        (lambda: _C.guided_filter(ALPHA, IMAGE, -1), ValueError, "radius not to be negative"),
        (lambda: _C.guided_filter(ALPHA, IMAGE, 1, 0), ValueError, "epsilon to be positive"),
    ],
)
def test_wrong_calls(call, error, match):
    with pytest.raises(error, match=f"^(foreground|guided_filter): expected {match}"):
        call()
