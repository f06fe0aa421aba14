"""The multi-level foreground: its promises, PyMatting's results, known colours."""

import functools
import itertools

import numpy as np
import promises
import pytest
import torch
from PIL import Image

import pyfast
from pyfast.ops.foreground import estimate_foreground_reference
from pyfast.testing import BadCall, OpCase, checks

IMAGE, ALPHA = torch.rand(2, 3, 6, 7), torch.rand(2, 6, 7)
estimate = pyfast.estimate_foreground

BAD_CALLS = tuple(
    BadCall(what, call, error, f"^estimate_foreground: expected {match}")
    for what, call, error, match in (
        ("a list", lambda: estimate([[0.0]], ALPHA), TypeError, "image to be a torch.Tensor"),
        ("no alpha", lambda: estimate(IMAGE, None), TypeError, "alpha to be a torch.Tensor"),
        (
            "another size",
            lambda: estimate(IMAGE, ALPHA[..., :5]),
            ValueError,
            r"alpha of shape \(2, 6, 7\), got \(2, 6, 5\)",
        ),
        (
            "one alpha for two",
            lambda: estimate(IMAGE, ALPHA[0]),
            ValueError,
            r"alpha of shape \(2, 6, 7\), got \(6, 7\)",
        ),
        ("two channels", lambda: estimate(IMAGE[:, :2], ALPHA), ValueError, "image of shape"),
        ("an empty image", lambda: estimate(IMAGE[..., :0], ALPHA), ValueError, "image of shape"),
        (
            "an image in 0..255",
            lambda: estimate(IMAGE * 255, ALPHA),
            ValueError,
            r"image of floats in \[0, 1\], got values from .* to .*; divide by 255",
        ),
        (
            "an alpha in 0..255",
            lambda: estimate(IMAGE, ALPHA * 255),
            ValueError,
            r"alpha of floats in \[0, 1\], got values",
        ),
        (
            "NaN in image",
            lambda: estimate(IMAGE / 0 * 0, ALPHA),
            ValueError,
            "image of finite values, got NaN",
        ),
        (
            "infinity in alpha",
            lambda: estimate(IMAGE, ALPHA / 0),
            ValueError,
            "alpha of finite values, got NaN or infinity",
        ),
        (
            "a negative weight",
            lambda: estimate(IMAGE, ALPHA, gradient_weight=-1),
            ValueError,
            "gradient_weight to be at least 0, got -1",
        ),
        (
            "no regularization",
            lambda: estimate(IMAGE, ALPHA, regularization=0),
            ValueError,
            "regularization to be above 0, got 0",
        ),
        (
            "another method",
            lambda: estimate(IMAGE, ALPHA, method="closed"),
            ValueError,
            "method to be one of multilevel, closed_form, got 'closed'; did you mean 'closed_form'",
        ),
        (
            "no tolerance",
            lambda: estimate(IMAGE, ALPHA, method="closed_form", rtol=0),
            ValueError,
            "rtol to be above 0, got 0",
        ),
        (
            "half a step",
            lambda: estimate(IMAGE, ALPHA, big_iterations=0.5),
            TypeError,
            "big_iterations to be an integer, got 0.5",
        ),
    )
)


def inputs(channels):
    def make(batch, size):
        shape = size + 1, size
        image = torch.rand(batch, channels, *shape, dtype=torch.float64) * 0.8 + 0.1
        return image, torch.rand(batch, 1, *shape, dtype=torch.float64) * 0.8 + 0.1

    return make


CASES = [
    OpCase(
        op="estimate_foreground",
        name=f"{channels}-channels",
        function=estimate,
        reference=estimate_foreground_reference,
        inputs=inputs(channels),
        kwargs={
            "return_background": True,
            "small_iterations": 2,
            "big_iterations": 1,
            "small_size": 16,
        },
        operators=("pyfast::foreground",),
        autocast=None,
        empty_batch=False,
        large=150,
        inductor=channels == 3,
        # At a regularization of 1e-5 colours hang on small differences.
        tolerances={torch.float32: 1e-3, torch.float64: 1e-8},
        bad_calls=BAD_CALLS if channels == 3 else (),
    )
    for channels in (3, 1)
]


def closed_form_reference(image, alpha, *, rtol, return_background):
    layers = estimate_foreground_reference(
        image,
        alpha,
        return_background=return_background,
        regularization=2e-5,
        gradient_weight=2.0,
        tolerance=rtol,
    )
    return tuple(layer.clamp(0, 1) for layer in layers)


CASES.append(
    OpCase(
        op="estimate_foreground",
        name="closed-form",
        function=functools.partial(estimate, method="closed_form"),
        reference=closed_form_reference,
        inputs=inputs(3),
        kwargs={"return_background": True, "rtol": 1e-9},
        operators=("pyfast::foreground",),
        autocast=None,
        empty_batch=False,
        large=40,
        tolerances={torch.float32: 1e-3, torch.float64: 1e-5},
    )
)


@promises.every(checks(CASES))
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (9, 1), (2, 2), (33, 31), (70, 300), (300, 70)], ids=str
)
def test_every_size_equals_the_definition(size):
    """Bands of rows that end anywhere, rows that take part in one level alone."""
    image, alpha = torch.rand(1, 3, *size).double(), torch.rand(1, 1, *size).double()
    alpha = (2 * alpha - 0.5).clamp(0, 1)
    found = estimate(image, alpha, return_background=True)
    expected = estimate_foreground_reference(image, alpha, return_background=True)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def blend(height, width):
    """Two smooth layers behind a matte with hard, soft and fine parts: picture, alpha, layers."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    wave = np.stack([np.sin(5 * x + k) * np.cos(4 * y - k) for k in range(3)], -1)
    front, back = 0.75 + 0.2 * wave, 0.3 - 0.25 * wave[..., ::-1]
    radius, angle = np.hypot(y - 0.5, x - 0.5), np.arctan2(y - 0.5, x - 0.5)
    alpha = np.clip((0.3 + 0.05 * np.sin(30 * angle) - radius) * 20 + 0.5, 0, 1)
    opacity = alpha[..., None]
    return opacity * front + (1 - opacity) * back, alpha, front, back


@pytest.mark.parametrize("size", [(90, 120), (256, 200)], ids=str)
def test_colours_are_nearer_to_the_truth_than_pymattings(size):
    ml = pytest.importorskip("pymatting.foreground.estimate_foreground_ml")
    image, alpha, *layers = blend(*size)
    ours = estimate(image, alpha, return_background=True)
    theirs = ml.estimate_foreground_ml(image, alpha, return_background=True)
    mixed = (alpha > 0.02) & (alpha < 0.98)
    for found, other, true in zip(ours, theirs, layers, strict=True):
        error, others = (np.sqrt(((x - true)[mixed] ** 2).mean()) for x in (found, other))
        assert error < others
        assert error < 0.1


def test_one_layer_alone_is_the_picture():
    image = torch.rand(3, 20, 30)
    found = estimate(image, torch.ones(20, 30))
    torch.testing.assert_close(found, image, atol=1e-3, rtol=0)
    _, back = estimate(image, torch.zeros(20, 30), return_background=True)
    torch.testing.assert_close(back, image, atol=1e-3, rtol=0)


def test_pictures_of_every_kind_agree():
    image, alpha, *_ = blend(24, 20)
    bytes_ = (image * 255).round().astype(np.uint8), (alpha * 255).round().astype(np.uint8)
    array = estimate(*bytes_)
    assert (array.dtype, array.shape) == (np.uint8, bytes_[0].shape)
    picture = estimate(*map(Image.fromarray, bytes_))
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), array)
    tensor = estimate(torch.from_numpy(bytes_[0]).permute(2, 0, 1), torch.from_numpy(bytes_[1]))
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)
    mixed = estimate(bytes_[0] / 255, Image.fromarray(bytes_[1]))
    assert mixed.dtype == np.float64
    np.testing.assert_allclose(mixed * 255, array, atol=0.6)
    deep = estimate((image * 65535).round().astype(np.uint16), bytes_[1])
    assert deep.dtype == np.uint16
    grey = estimate(bytes_[0][..., 0], bytes_[1])
    assert grey.shape == bytes_[1].shape
    with_alpha = estimate(np.dstack(bytes_), bytes_[1])
    np.testing.assert_array_equal(with_alpha, array)


@pytest.mark.parametrize("options", [*itertools.product((0, 3), (0, 2))], ids=str)
def test_no_step_at_a_size(options):
    small, big = options
    image, alpha = torch.rand(1, 3, 50, 40).double(), torch.rand(1, 1, 50, 40).double()
    words = {"small_iterations": small, "big_iterations": big}
    found = estimate(image, alpha, **words)
    expected = estimate_foreground_reference(image, alpha, **words)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_the_closed_form_is_the_solution_of_its_system():
    """The normal equations of Levin et al. 2008, equation 19, written out and solved directly."""
    sparse = pytest.importorskip("scipy.sparse")
    from scipy.sparse.linalg import spsolve

    image, alpha, *_ = blend(30, 36)
    size, opacity = alpha.size, alpha.ravel()
    index = np.arange(size).reshape(alpha.shape)
    edges = np.concatenate(
        [
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1),
            np.stack([index[:-1].ravel(), index[1:].ravel()], 1),
        ]
    )
    weights = 2 * (1e-5 + abs(opacity[edges[:, 0]] - opacity[edges[:, 1]]))
    rows = np.repeat(np.arange(len(edges)), 2)
    slopes = sparse.csr_matrix((np.tile([1.0, -1], len(edges)), (rows, edges.ravel())))
    smooth = slopes.T @ sparse.diags(weights) @ slopes
    mix = sparse.hstack([sparse.diags(opacity), sparse.diags(1 - opacity)])
    system = (mix.T @ mix + sparse.block_diag([smooth, smooth])).tocsc()
    exact = spsolve(system, mix.T @ image.reshape(size, 3)).reshape(2, *image.shape).clip(0, 1)
    found = estimate(image, alpha, method="closed_form", return_background=True)
    closer = estimate(image, alpha, method="closed_form", return_background=True, rtol=1e-11)
    for a, b, part in zip(closer, exact, (alpha, 1 - alpha), strict=True):
        np.testing.assert_allclose(part[..., None] * a, part[..., None] * b, atol=1e-7)
    for a, b, part in zip(found, exact, (alpha, 1 - alpha), strict=True):
        np.testing.assert_allclose(part[..., None] * a, part[..., None] * b, atol=1e-3)
