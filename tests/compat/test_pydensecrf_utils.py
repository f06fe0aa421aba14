"""compat.pydensecrf.utils and .eigen: what pydensecrf gives, and what it should have said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfast.compat.pydensecrf import eigen, utils

LABELS = np.array([[0, 1, 2], [3, 3, 1]])


def same(ours, theirs):
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_unary_from_labels_by_hand():
    found = utils.unary_from_labels(LABELS, 3, 0.7)
    sure, other, unsure = -np.log([0.7, 0.15, 1 / 3])
    wanted = np.full((3, 6), other)
    wanted[:, 0] = unsure
    wanted[[0, 1, 2, 2, 0], [1, 2, 3, 4, 5]] = sure
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_unsigned_labels_do_not_wrap():
    np.testing.assert_array_equal(
        utils.unary_from_labels(LABELS.astype(np.uint8), 3, 0.7),
        utils.unary_from_labels(LABELS, 3, 0.7),
    )


@pytest.mark.parametrize("zero_unsure", [True, False])
def test_one_label(zero_unsure):
    labels = [1, 1] if zero_unsure else [0, 0]
    found = utils.unary_from_labels(labels, 1, 0.5, zero_unsure)
    np.testing.assert_allclose(found, -np.log([[0.5, 0.5]]), rtol=1e-6)


@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), min_size=1, max_size=9))
    ),
    st.floats(0.01, 0.99),
    st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_unary_from_labels_is_theirs(original, count_and_labels, gt_prob, zero_unsure):
    count, labels = count_and_labels
    call = (np.array(labels), count, gt_prob, zero_unsure)
    same(utils.unary_from_labels(*call), original.utils.unary_from_labels(*call))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 2, 3, 2)])
@pytest.mark.parametrize("scale", [None, 0.6, 1])
@pytest.mark.parametrize("clip", [1e-5, 0.2, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary_from_softmax_is_theirs(original, shape, scale, clip, dtype):
    sm = np.random.default_rng(0).dirichlet(np.ones(shape[0]), shape[1:])
    sm = np.moveaxis(sm, -1, 0).astype(dtype)
    same(
        utils.unary_from_softmax(sm, scale, clip),
        original.utils.unary_from_softmax(sm, scale, clip),
    )


def test_probability_zero_is_an_infinite_energy_where_nothing_clips():
    sm = np.array([[1.0, 0.5], [0.0, 0.5]])
    assert utils.unary_from_softmax(sm, clip=None)[1, 0] == np.inf
    assert utils.unary_from_softmax(sm)[1, 0] == pytest.approx(-np.log(1e-5))


@pytest.mark.parametrize(
    ("sdims", "shape"),
    [((3, 5), (4, 6)), ((1.5, 2, 3), (2, 3, 4)), ((0.3,), (7,)), ((2, 2), (1, 1))],
)
def test_create_pairwise_gaussian_is_theirs(original, sdims, shape):
    call = (sdims, shape)
    same(utils.create_pairwise_gaussian(*call), original.utils.create_pairwise_gaussian(*call))


@pytest.mark.parametrize(
    ("shape", "sdims", "schan", "chdim"),
    [
        ((4, 6, 3), (10, 12), (13, 14, 15), 2),
        ((3, 4, 6), (10, 12), 13, 0),
        ((4, 6), (10, 12), (0.5,), -1),
        ((2, 3, 4, 2), (1, 2, 3), (5, 6), 3),
        ((4, 5, 6), (1, 2, 3), 7, -1),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_create_pairwise_bilateral_is_theirs(original, shape, sdims, schan, chdim, dtype):
    img = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    before = img.copy()
    found = utils.create_pairwise_bilateral(sdims, schan, img, chdim)
    same(found, original.utils.create_pairwise_bilateral(sdims, schan, img, chdim))
    np.testing.assert_array_equal(img, before)


def test_the_old_names_warn(original):
    sm = np.full((2, 3), 0.5)
    with pytest.warns(DeprecationWarning, match="use unary_from_labels"):
        same(utils.compute_unary(LABELS, 3), original.utils.compute_unary(LABELS, 3))
    with pytest.warns(DeprecationWarning, match="use unary_from_softmax"):
        same(utils.softmax_to_unary(sm, 0.8), original.utils.softmax_to_unary(sm, 0.8))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: utils.unary_from_labels(LABELS, 3, 0), ValueError, "gt_prob between 0 and 1"),
        (lambda: utils.unary_from_labels(LABELS, 3, np.nan), ValueError, "gt_prob"),
        (lambda: utils.unary_from_labels(LABELS, 2, 0.5), ValueError, "labels to be whole, from 0"),
        (lambda: utils.unary_from_labels(LABELS, 3, 0.5, False), ValueError, "from 0 to 2"),
        (lambda: utils.unary_from_labels(-LABELS, 3, 0.5), ValueError, "labels"),
        (lambda: utils.unary_from_labels(LABELS + 0.5, 3, 0.5), ValueError, "labels"),
        (lambda: utils.unary_from_labels(LABELS * np.nan, 3, 0.5), ValueError, "labels"),
        (lambda: utils.unary_from_labels(["a"], 3, 0.5), TypeError, "labels"),
        (lambda: utils.unary_from_labels(LABELS, 0, 0.5), ValueError, "n_labels of at least 1"),
        (lambda: utils.unary_from_labels(LABELS, 2.5, 0.5), ValueError, "n_labels to be whole"),
        (lambda: utils.unary_from_softmax(1.0), ValueError, r"sm of shape \(L, ...\)"),
        (lambda: utils.unary_from_softmax([[np.nan]]), ValueError, "sm to be finite, got nan at"),
        (
            lambda: utils.unary_from_softmax([[-0.1]], clip=None),
            ValueError,
            "sm not to be negative",
        ),
        (lambda: utils.unary_from_softmax([[1.0]], scale=0), ValueError, "scale above 0"),
        (lambda: utils.unary_from_softmax([[1j]]), TypeError, "sm to hold real numbers"),
        (
            lambda: utils.create_pairwise_gaussian((3,), (4, 5)),
            ValueError,
            "sdims to be a number or",
        ),
        (
            lambda: utils.create_pairwise_gaussian((3, 0), (4, 5)),
            ValueError,
            "sdims to be positive",
        ),
        (lambda: utils.create_pairwise_gaussian((3, np.nan), (4, 5)), ValueError, "sdims"),
        (lambda: utils.create_pairwise_gaussian(3, (4, -5)), ValueError, "shape of at least 0"),
        (lambda: utils.create_pairwise_gaussian(3, ()), ValueError, "shape of one side or more"),
        (
            lambda: utils.create_pairwise_bilateral((1, 1), (1, 1), np.zeros((4, 5, 3)), 2),
            ValueError,
            "schan to be a number or 3 of them",
        ),
        (
            lambda: utils.create_pairwise_bilateral((1, 1), 1, np.zeros((4, 5, 3)), 3),
            ValueError,
            "chdim to be an axis",
        ),
        (
            lambda: utils.create_pairwise_bilateral((1, 1), 1, np.zeros((4, 5, 3))),
            ValueError,
            "sdims to be a number or 3",
        ),
        (lambda: utils.unary_from_labels([1], 2, "a"), TypeError, "gt_prob to hold real"),
        (lambda: utils.unary_from_softmax([[1.0]], scale="a"), TypeError, "scale to hold real"),
        (lambda: utils.unary_from_softmax([[1.0]], clip=[1, 2]), TypeError, "clip to be a number"),
        (lambda: utils.unary_from_softmax([[1.0]], clip=np.nan), ValueError, "clip to be a number"),
        (lambda: utils.unary_from_softmax(np.ones((0, 4))), ValueError, "sm of one label or more"),
        (lambda: utils.create_pairwise_gaussian(1, 5), TypeError, "shape to be a sequence"),
        (
            lambda: utils.create_pairwise_bilateral(1, 1, np.zeros((4, 5, 3)), "a"),
            TypeError,
            "chdim to be an integer",
        ),
        (lambda: eigen.matrixXf(np.zeros(3)), ValueError, "arr of 2 dimensions"),
        (lambda: eigen.vectorXf(np.zeros((3, 3))), ValueError, "arr of 1 dimensions"),
        (lambda: eigen.matrixXf([["a"]]), TypeError, "arr to hold real numbers"),
    ],
)
def test_bad_calls_are_explained(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_matrices_offer_their_memory(original):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for package in (original.eigen, eigen):
        matrix, vector = package.matrixXf(values), package.vectorXf(values[0])
        assert isinstance(matrix, package.MatrixXf)
        assert isinstance(vector, package.VectorXf)
        np.testing.assert_array_equal(np.array(matrix), values)
        np.testing.assert_array_equal(np.array(vector), values[0])
        np.asarray(matrix)[0, 0] = 9
        assert np.array(matrix)[0, 0] == 9
        assert values[0, 0] == 0
        view = memoryview(matrix)
        assert (view.format, view.shape, view.readonly) == ("f", (2, 3), False)
        np.testing.assert_array_equal(np.argmax(matrix, axis=0), [0, 1, 1])
        assert np.array(package.MatrixXf()).size == np.array(package.VectorXf()).size == 0


def test_matrices_take_any_real_numbers():
    assert eigen.matrixXf([[1, 2]]).dtype == np.float32
    assert eigen.matrixXf(np.zeros((2, 3), np.float64).T).shape == (3, 2)
