"""Mattes of scenes whose alpha is known, beside the direct solution and PyMatting's."""

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="the extra `data` is not installed")
import scipy.sparse.linalg

import pyfast
from pyfast.data import matte_errors, matte_scene


@pytest.fixture(scope="module", params=["trimap", "scribbles"])
def case(request):
    """Image (H, W, 3), marks, true alpha, unknown pixels: float64."""
    scene = matte_scene(90, 120)
    image = scene.image.permute(1, 2, 0).double().numpy()
    marks = getattr(scene, request.param).double().numpy()
    return np.ascontiguousarray(image), marks, scene.alpha.double().numpy(), marks == 0.5


def direct(image, marks):
    """The solution of the system by SuperLU."""
    planes = torch.from_numpy(image).permute(2, 0, 1)
    matrix = pyfast.matting_laplacian(planes, layout="scipy").tocsr()
    known = (marks != 0.5).ravel()
    alpha = marks.ravel().copy()
    rows = matrix[~known]
    right = -(rows[:, known] @ alpha[known])
    alpha[~known] = scipy.sparse.linalg.spsolve(rows[:, ~known].tocsc(), right)
    return alpha.clip(0, 1).reshape(marks.shape)


def test_errors_are_those_of_the_direct_solution(case):
    image, marks, true, unknown = case
    found, exact = pyfast.estimate_alpha(image, marks), direct(image, marks)
    difference = abs(found - exact)
    assert difference.max() < 1e-3
    assert difference.mean() < 1e-5
    ours, theirs = (matte_errors(matte, true, unknown) for matte in (found, exact))
    for name in ("SAD", "MSE", "gradient"):
        assert ours[name] <= 1.01 * theirs[name], name
    assert ours["connectivity"] <= 1.05 * theirs["connectivity"]
    assert ours["MSE"] < 0.05


def test_errors_are_those_of_pymatting(case):
    pymatting = pytest.importorskip("pymatting", reason="the extra `bench` is not installed")
    image, marks, true, unknown = case
    found, other = pyfast.estimate_alpha(image, marks), pymatting.estimate_alpha_cf(image, marks)
    ours, theirs = (matte_errors(matte, true, unknown) for matte in (found, other))
    for name in ("SAD", "MSE", "gradient"):
        assert ours[name] <= 1.01 * theirs[name], name


def test_errors_of_a_perfect_matte_are_none_and_grow_with_noise():
    true = matte_scene(60, 80).alpha.double().numpy()
    unknown = np.ones(true.shape, bool)
    assert set(matte_errors(true, true, unknown).values()) == {0.0}
    noise = np.random.default_rng(0).standard_normal(true.shape)
    some, more = (
        matte_errors((true + size * noise).clip(0, 1), true, unknown) for size in (0.05, 0.2)
    )
    assert all(0 < some[name] < more[name] for name in ("SAD", "MSE", "gradient"))
    cut = true.copy()
    cut[:, 40:] = 0  # half of the subject is gone
    assert matte_errors(cut, true, unknown)["connectivity"] > 0.1
