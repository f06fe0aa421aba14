"""The doors of the matting Laplacian for arrays, and its eigenvectors."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import eigsh

import pyfast
from pyfast._native import _C

RANDOM = np.random.default_rng(0)


def test_doors_agree_with_the_operators():
    image, v = RANDOM.random((2, 3, 9, 10)), RANDOM.random((2, 2, 9, 10))
    energy, of_v, of_image = _C.matting_energy(v, image, 1e-4)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (v, image)]
    expected = pyfast.matting_energy(*leaves, 1e-4)
    gradients = torch.autograd.grad(expected.sum(), leaves)
    for ours, theirs in zip((energy, of_v, of_image), (expected, *gradients), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12)
    out = np.empty_like(v)
    assert _C.matting_product(v[..., ::-1][..., ::-1], image, 1e-4, out=out) is out
    np.testing.assert_allclose(2 * out, of_v)


def test_matrix_and_solution():
    image = RANDOM.random((3, 8, 9))
    row_start, column, value = _C.matting_matrix(image, 1e-4)
    matrix = csr_array((value, column, row_start), shape=(72, 72)).toarray()
    np.testing.assert_allclose(
        matrix, pyfast.matting_laplacian(torch.from_numpy(image), 1e-4).to_dense().numpy()
    )
    known, x = np.zeros((1, 8, 9)), np.zeros((1, 1, 8, 9))
    known[..., 0] = known[..., -1] = x[..., -1] = 1
    rhs, diagonal = RANDOM.random(x.shape), RANDOM.random((1, 8, 9))
    solution, report = _C.matting_solve(rhs, x, image[None], diagonal, known, 1e-4, tolerance=1e-12)
    left = (matrix + np.diag(diagonal.ravel())) @ solution.ravel() - rhs.ravel()
    assert np.abs(left[known.ravel() == 0]).max() < 1e-9
    assert np.array_equal(solution[known[None] == 1], x[known[None] == 1])
    assert report[0, 0, 2] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["rhs", "x", "image", "diagonal"])
def test_the_solver_refuses_what_is_no_number(name, value):
    ones = np.ones((1, 1, 6, 7))
    call = {"rhs": ones, "x": 0 * ones, "image": RANDOM.random((1, 3, 6, 7)), "diagonal": ones[0]}
    call[name] = call[name].copy()
    call[name][..., 2, 3] = value
    with pytest.raises(ValueError, match=f"matting_solve: expected {name} to be finite"):
        _C.matting_solve(*call.values(), 0 * ones[0])


@pytest.mark.parametrize("value", [-1.0, 1e31])
def test_the_solver_refuses_a_diagonal_out_of_range(value):
    ones = np.ones((1, 1, 6, 7))
    image = RANDOM.random((1, 3, 6, 7))
    with pytest.raises(ValueError, match="matting_solve: expected diagonal from 0 to 1e30"):
        _C.matting_solve(ones, 0 * ones, image, value * ones[0], 0 * ones[0])


def test_a_first_guess_goes_where_zeros_are_the_solution():
    image, x = RANDOM.random((1, 3, 12, 13)), RANDOM.random((1, 1, 12, 13))
    known = np.zeros((1, 12, 13))
    known[:, 0], x[:, :, 0] = 1, 0
    solution, report = _C.matting_solve(0 * x, x, image, 0 * known, known, 1e-4)
    assert report[0, 0, 0] > 0
    assert report[0, 0, 2] == 1
    np.testing.assert_allclose(solution, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda a: _C.matting_energy(a, a[0]), ValueError, r"image of shape \(B, D, H, W\)"),
        (lambda a: _C.matting_energy(a[..., 1:], a), ValueError, "v of shape"),
        (lambda a: _C.matting_product(a, a, -1.0), ValueError, "epsilon to be positive"),
        (lambda a: _C.matting_product(a, a, 5e-324), ValueError, "from 1e-300 to 1e300"),
        (lambda a: _C.matting_product(a, a, 1e-7, 4), ValueError, "2 radius"),
        (lambda a: _C.matting_product(a, a, "1"), TypeError, "epsilon to be a number"),
        (lambda a: _C.matting_matrix(a), ValueError, r"\(D, H, W\)"),
        (lambda a: _C.matting_matrix(a[0], 1e-7, 9), ValueError, "radius from 1 to 8"),
        (lambda a: _C.matting_solve(a, a, a, a, a), ValueError, r"diagonal of shape \(2, 6, 7\)"),
    ],
)
def test_wrong_calls(call, error, match):
    with pytest.raises(error, match=match):
        call(RANDOM.random((2, 3, 6, 7)))


def test_smallest_eigenvalues_agree_with_shift_and_invert():
    image = RANDOM.random((20, 24, 3)).cumsum(0).cumsum(1)
    laplacian = pyfast.MattingLaplacian(torch.from_numpy(image / image.max()).permute(2, 0, 1))
    values, vectors = laplacian.eigs(4, tol=1e-8)
    expected = eigsh(laplacian.to_scipy().tocsc(), 4, sigma=-1e-9)[0]
    np.testing.assert_allclose(values, np.sort(expected), atol=1e-9)
    assert np.abs(laplacian @ vectors - vectors * values).max() < 1e-7
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-8)
    with pytest.raises(ValueError, match="k up to 96"):
        laplacian.eigs(97)
    assert laplacian.eigs(1)[1].shape == (480, 1)


@pytest.mark.parametrize("is_flat", [False, True])
def test_a_fifth_of_all_eigenvalues_where_many_are_the_same(is_flat):
    marks = torch.full((8, 10), 0.5) if is_flat else (torch.rand(8, 10) > 0.5).double()
    laplacian = pyfast.MattingLaplacian(marks)
    values, vectors = laplacian.eigs(16, tol=1e-8)
    expected = np.linalg.eigvalsh(laplacian.to_scipy().toarray())[:16]
    np.testing.assert_allclose(values, expected, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(16), atol=1e-9)


def test_eigenvalues_that_are_not_there_yet_warn():
    laplacian = pyfast.MattingLaplacian(torch.rand(3, 12, 15))
    with pytest.warns(UserWarning, match=r"eigs: residuals are up to .* after 1 iterations"):
        _, vectors = laplacian.eigs(5, maxiter=1)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-9)
