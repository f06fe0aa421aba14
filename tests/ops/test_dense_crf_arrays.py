"""The doors of the dense CRF for arrays."""

import numpy as np
import pytest
import torch

import pyfast
from pyfast._native import _C

GENERATOR = np.random.default_rng(0)


def arrays(dtype=np.float64, labels=3, height=7, width=9, batch=2):
    unary = 2 * GENERATOR.random((batch, labels, height * width))
    features = GENERATOR.normal(size=(batch, 5, height * width))
    return unary.astype(dtype), features.astype(dtype)


def run(unary, features, weight=2.0, *, iterations=3, start=None, size=(7, 9), normalization=3):
    dtype, labels = unary.dtype, unary.shape[1]
    lattice = _C.gaussian_lattice(features)
    costs = np.stack([-weight * np.eye(labels), -1.5 * np.eye(labels)]).astype(dtype)
    grids = np.array([[0, 0, 1], [1.2, 1.2, 1]], dtype)
    start = np.empty((0, 0, 0), dtype) if start is None else start
    kinds = (normalization, 3)
    return _C.mean_field(
        unary, start, lattice, grids, costs, (len(lattice), 0), kinds, size, iterations
    )


@pytest.mark.parametrize("labels", [1, 2, 3, 21, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean_field_is_that_of_tensors(labels, dtype):
    unary, features = arrays(dtype, labels)
    kernel = pyfast.GaussianFilter(torch.from_numpy(features))
    rows = pyfast.spatial_features((7, 9), 1.2, dtype=torch.float64)
    grid = pyfast.GaussianFilter(rows.expand(2, -1, -1).to(kernel.features), "exact")
    kernels = [(kernel, 2.0), (grid, 1.5)]
    expected = pyfast.mean_field(torch.from_numpy(unary), kernels, iterations=3)
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(run(unary, features), expected.numpy(), rtol=0, atol=tolerance)


def test_steps_one_by_one_are_all_at_once():
    unary, features = arrays()
    marginals = run(unary, features, iterations=0)
    np.testing.assert_allclose(marginals, torch.softmax(-torch.from_numpy(unary), 1).numpy())
    for _ in range(3):
        marginals = run(unary, features, iterations=1, start=marginals)
    np.testing.assert_allclose(marginals, run(unary, features), atol=1e-12)


def test_filters_are_those_of_tensors():
    values, features = arrays(np.float32, 12)
    lattice = _C.gaussian_lattice(features, closed=True)
    kernel = pyfast.GaussianFilter(torch.from_numpy(features), "closed")
    for transposed in (False, True):
        expected = kernel._raw(torch.from_numpy(values), transposed)
        actual = _C.gaussian_filter(values, lattice, transposed)
        np.testing.assert_array_equal(actual, expected.numpy())
    exact = pyfast.GaussianFilter(torch.from_numpy(features), "exact")
    expected = exact.filter(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(_C.gaussian_exact(values, features), expected)


def test_a_gaussian_on_the_grid_is_the_exact_sum():
    values, _ = arrays(np.float64, 4)
    features = pyfast.spatial_features((7, 9), [1.5, 0.8], dtype=torch.float64)
    exact = pyfast.GaussianFilter(features.expand(2, -1, -1), "exact")
    expected = 3 * exact.filter(torch.from_numpy(values)).numpy()
    actual = _C.gaussian_grid(values, np.array([1.5, 0.8, 3.0]), (7, 9))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="positive, finite sigmas"):
        _C.gaussian_grid(values, np.array([0.0, 1.0, 1.0]), (7, 9))


def test_views_of_any_strides_are_taken():
    unary, features = arrays()
    flipped = np.ascontiguousarray(unary[:, ::-1, ::-1])[:, ::-1, ::-1]
    np.testing.assert_array_equal(run(flipped, features), run(unary, features))


def test_a_large_flat_picture_does_not_overflow_half_precision():
    unary, _ = arrays(np.float32, 3, 400, 400, 1)
    flat = np.zeros((1, 1, 160000), np.float32)
    for kind in range(4):
        marginals = run(unary, flat, 1e-6, size=(400, 400), normalization=kind)
        assert np.isfinite(marginals).all()
        np.testing.assert_allclose(marginals.sum(1), 1, rtol=1e-5)


def wrong(name, value):
    unary, features = arrays()
    lattice = _C.gaussian_lattice(features)
    call = {
        "unary": unary,
        "start": np.empty((0, 0, 0)),
        "lattices": lattice,
        "grids": np.ones((1, 3)),
        "costs": -np.eye(3)[None],
        "lengths": (len(lattice),),
        "normalizations": (3,),
        "size": (7, 9),
        "iterations": 2,
    }
    call[name] = value(call[name]) if callable(value) else value
    return call


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("unary", lambda u: u[:, :0], "unary of shape"),
        ("unary", lambda u: u[:1], "start|lattices"),
        ("start", np.ones((2, 3, 5)), "start of shape"),
        ("lattices", lambda x: x[:-16], "lengths of at most all lattices"),
        ("lengths", (64,), "lattices to be what gaussian_lattice returned"),
        ("lengths", (-1,), "lengths of at most"),
        ("grids", np.ones((1, 2)), "grids of shape"),
        ("costs", np.eye(4)[None], "costs of shape"),
        ("costs", np.full((1, 3, 3), np.nan), "finite costs"),
        ("normalizations", (4,), "normalizations from 0 to 3"),
        ("normalizations", (), "as many normalizations"),
        ("size", (9, 9), "size"),
        ("size", (2**40, 2**40), "size"),
        ("iterations", -1, "iterations not to be negative"),
    ],
)
def test_wrong_calls_say_what_is_wrong(name, value, match):
    with pytest.raises(ValueError, match=match):
        _C.mean_field(**wrong(name, value))


def test_features_that_make_no_lattice():
    values, features = arrays()
    with pytest.raises(ValueError, match="within"):
        _C.gaussian_lattice(features * 1e12)
    features[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite features"):
        _C.gaussian_lattice(features)
    with pytest.raises(ValueError, match="gaussian_exact: expected finite features"):
        _C.gaussian_exact(values, features)
    with pytest.raises(ValueError, match="of shape"):
        _C.gaussian_lattice(features[0])
    with pytest.raises(ValueError, match="below 2"):
        _C.gaussian_lattice(np.broadcast_to(np.float32(0), (1, 2, 30000 * 30000)))


def edited(lattice, position, value):
    """A copy with one 32-bit word changed."""
    copy = lattice.copy()
    copy.view(np.int32)[position] = value
    return copy


HEADER_WORDS = 7  # the others of the header are not in use


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edited_lattice_is_refused_or_computed_with(dtype, closed):
    values, features = arrays(dtype)
    lattice = _C.gaussian_lattice(features, closed)
    words = len(lattice.view(np.int32))
    places = [*range(HEADER_WORDS), *GENERATOR.integers(HEADER_WORDS, words, 300)]
    said = []
    for place in places:
        for value in (-1, -(2**31), 2**31 - 1, 0x40000000, lattice.view(np.int32)[place] + 1):
            try:
                _C.gaussian_filter(values, edited(lattice, place, value))
            except ValueError as error:
                said.append(str(error))
    assert all("gaussian_lattice returned" in text or "points" in text for text in said)
    # Indices are most of the words, and weights of points may be anything.
    assert len(said) > len(places)


def test_an_edited_lattice_is_refused_by_torchs_operators():
    values, features = (torch.from_numpy(array) for array in arrays())
    lattice = pyfast.GaussianFilter(features)._lattice
    for place in (2, 3, 20, len(lattice.words) // 2):
        spoilt = lattice._replace(words=lattice.words.clone())
        spoilt.words[place] = 2**31 - 1
        filtered = (torch.ops.pyfast.gaussian_filter, (values, features))
        sloped = (torch.ops.pyfast.gaussian_filter_backward, (values, values, features))
        for op, tensors in (filtered, sloped):
            options = (False,) if op is filtered[0] else ()
            with pytest.raises(RuntimeError, match="lattice"):
                op(*tensors, *spoilt, *options)
