"""The matting Laplacian as a matrix and as an operator: values, layouts, wrong calls."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfast
from pyfast.ops._matting_reference import matting_laplacian_reference
from pyfast.testing import OpCase


def inputs(batch, size):
    return (torch.rand(3, size + 2, size + 3, dtype=torch.float64),)


CASES = [
    OpCase(
        op="matting_laplacian",
        name="dense",
        function=lambda image: pyfast.matting_laplacian(image).to_dense(),
        reference=matting_laplacian_reference,
        inputs=inputs,
        operators=("pyfast::matting_matrix",),
        dtypes=(torch.float64,),
        tolerances={torch.float64: 1e-9},
    )
]


def pictures(size=12):
    """What breaks an inverse by cofactors, and ordinary colours."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(3, size, size + 1, generator=generator, dtype=torch.float64)
    ramp = torch.linspace(0, 1, size * (size + 1), dtype=torch.float64).view(1, size, size + 1)
    return {
        "colours": colours,
        "grey": colours[:1].expand(3, -1, -1),
        "black and white": (colours[:1] > 0.5).double().expand(3, -1, -1),
        "flat": torch.full_like(colours, 0.3),
        "a ramp": ramp.expand(3, -1, -1),
        "almost grey": colours[:1] + 1e-6 * colours,
    }


def exact(image, epsilon, radius):
    """The matrix with every window solved in extended precision."""
    longs = image.permute(1, 2, 0).numpy().astype(np.longdouble)
    height, width, channels = longs.shape
    side = 2 * radius + 1
    n = side * side
    matrix = np.zeros((height * width, height * width), np.longdouble)
    index = np.arange(height * width).reshape(height, width)
    for y in range(height - side + 1):
        for x in range(width - side + 1):
            pixels = index[y : y + side, x : x + side].ravel()
            colours = longs[y : y + side, x : x + side].reshape(n, channels)
            centred = colours - colours.mean(0)
            factor = _cholesky((centred.T @ centred + epsilon * np.eye(channels)) / n)
            z = _solve_lower(factor, centred.T)
            matrix[np.ix_(pixels, pixels)] += np.eye(n) - (1 + z.T @ z) / n
    return matrix


def _cholesky(s):
    factor = np.zeros_like(s)
    for j in range(len(s)):
        factor[j, j] = np.sqrt(s[j, j] - factor[j, :j] @ factor[j, :j])
        for i in range(j + 1, len(s)):
            factor[i, j] = (s[i, j] - factor[i, :j] @ factor[j, :j]) / factor[j, j]
    return factor


def _solve_lower(factor, right):
    solved = np.zeros_like(right)
    for i in range(len(factor)):
        solved[i] = (right[i] - factor[i, :i] @ solved[:i]) / factor[i, i]
    return solved


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("epsilon", [1e-9, 1e-7, 1e-3])
@pytest.mark.parametrize("name", pictures())
def test_agrees_with_extended_precision(name, epsilon, radius):
    image = pictures(8)[name]
    matrix = pyfast.matting_laplacian(image, epsilon, radius, layout="scipy").toarray()
    truth = exact(image, epsilon, radius)
    bound = 1e-8 if epsilon == 1e-9 else 1e-9
    assert np.abs(matrix - truth).max() <= bound * np.abs(truth).max()
    assert np.abs(matrix - matrix.T).max() <= 1e-12
    assert np.abs(matrix.sum(1)).max() <= 1e-10
    assert np.linalg.eigvalsh(matrix).min() >= -1e-10


def test_agrees_with_pymatting_on_colours():
    pymatting = pytest.importorskip("pymatting")
    image = pictures(30)["colours"]
    theirs = pymatting.cf_laplacian(image.permute(1, 2, 0).numpy().copy(), 1e-5, 1)
    ours = pyfast.matting_laplacian(image, 1e-5, layout="scipy")
    assert abs(theirs - ours).max() < 1e-10


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(3, 20),
    width=st.integers(3, 20),
    channels=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_rows_sum_to_zero_and_no_energy_is_negative(height, width, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(channels, height, width, generator=generator)
    laplacian = pyfast.MattingLaplacian(image)
    ones = torch.ones(height * width, dtype=torch.float64)
    assert (laplacian @ ones).abs().max() < 1e-12
    v = torch.randn(height * width, generator=generator, dtype=torch.float64)
    assert v @ (laplacian @ v) >= -1e-12


def test_known_windows_are_left_out():
    image = pictures()["colours"]
    known = torch.zeros(image.shape[1:], dtype=torch.bool)
    known[:7, :5] = True
    matrix = pyfast.matting_laplacian(image, known=known).to_dense()
    torch.testing.assert_close(matrix, matting_laplacian_reference(image, known=known))
    unknown = ~known.flatten()
    torch.testing.assert_close(matrix[unknown], matting_laplacian_reference(image)[unknown])


def test_layouts_hold_the_same_matrix_in_order():
    image = torch.rand(3, 7, 9)
    csr = pyfast.matting_laplacian(image)
    coo = pyfast.matting_laplacian(image, layout="coo")
    scipy = pyfast.matting_laplacian(image, layout="scipy")
    assert torch.equal(csr.to_dense(), coo.to_dense())
    assert np.array_equal(scipy.toarray(), csr.to_dense().numpy())
    assert scipy.has_canonical_format
    assert scipy.indices.dtype == np.int32
    assert coo.is_coalesced()
    assert coo._nnz() == csr._nnz() == (5 * 7 - 6) * (5 * 9 - 6)


@pytest.mark.parametrize("side", [3, 4, 5, 6, 70])
def test_pattern_of_thin_images(side):
    for radius in (1, 2):
        image = torch.rand(2, side + 2, 2 * radius + 1)
        scipy = pyfast.matting_laplacian(image, radius=radius, layout="scipy")
        assert scipy.has_canonical_format
        dense = matting_laplacian_reference(image.double(), 1e-7, radius).numpy()
        assert np.abs(scipy.toarray() - dense).max() < 1e-9


def test_operator_multiplies_in_every_shape():
    image = torch.rand(3, 6, 7)
    laplacian = pyfast.MattingLaplacian(image)
    dense = matting_laplacian_reference(image.double())
    v = torch.randn(42, 3, dtype=torch.float64)
    torch.testing.assert_close(laplacian @ v, dense @ v)
    torch.testing.assert_close(laplacian @ v[:, 0], dense @ v[:, 0])
    planes = v.mT.reshape(3, 6, 7)
    torch.testing.assert_close(laplacian @ planes, (dense @ v).mT.reshape(3, 6, 7))
    np.testing.assert_allclose(laplacian.aslinearoperator() @ v.numpy(), (dense @ v).numpy())
    np.testing.assert_allclose(laplacian.to_scipy().toarray(), dense.numpy(), atol=1e-12)
    torch.testing.assert_close(laplacian.diagonal(), dense.diagonal())


@pytest.mark.parametrize("name", ["rhs", "x0"])
def test_numbers_that_are_none_are_not_solved_for(name):
    laplacian, ones = pyfast.MattingLaplacian(torch.rand(3, 5, 6)), torch.ones(5, 6)
    given = {"rhs": ones, "x0": ones, name: torch.full((5, 6), float("nan"))}
    with pytest.raises(ValueError, match=f"solve: expected {name} to be finite"):
        laplacian.solve(diag=ones, **given)


def test_the_unit_of_a_system_does_not_matter():
    """The preconditioner works in floats, and squares of doubles have an end too."""
    laplacian = pyfast.MattingLaplacian(torch.rand(3, 12, 13), 1e-4)
    rhs = torch.randn(12, 13, dtype=torch.float64)
    diag, start = (torch.rand_like(rhs) for _ in range(2))
    expected = laplacian.solve(rhs, diag, rtol=1e-10)
    for unit in (1e-300, 1e-170, 1e-50, 1e50, 1e170, 1e300):
        for guess in (None, start * unit):
            found = laplacian.solve(rhs * unit, diag, guess, rtol=1e-10) / unit
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_what_is_too_large_for_floats_is_refused():
    laplacian, ones = pyfast.MattingLaplacian(torch.rand(3, 5, 6)), torch.ones(5, 6)
    torch.testing.assert_close(laplacian.solve(1e29 * ones, 1e29 * ones), ones.double())
    with pytest.raises(ValueError, match=r"diag to be finite, from 0 to 1e\+30, got .* to 1e\+31"):
        laplacian.solve(ones, torch.full((5, 6), 1e31))


def test_complex_vectors_are_refused():
    laplacian = pyfast.MattingLaplacian(torch.rand(3, 5, 6))
    for vector in (torch.ones(30, dtype=torch.complex64), np.ones(30, np.complex128)):
        with pytest.raises(TypeError, match=r"v of real numbers, got .*complex"):
            laplacian @ vector


def test_numbers_with_a_gradient_are_looked_at_without_a_warning():
    """torch warns where one is read as a number; as a rule once in a process."""
    image, rhs = torch.rand(3, 5, 6, requires_grad=True), torch.ones(5, 6, requires_grad=True)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pyfast.MattingLaplacian(image).solve(rhs, torch.ones(5, 6))
    finally:
        torch.set_warn_always(always)


def test_operator_is_differentiable():
    image = torch.rand(3, 5, 5)
    v = torch.rand(25, dtype=torch.float64, requires_grad=True)
    (pyfast.MattingLaplacian(image) @ v).square().sum().backward()
    dense = matting_laplacian_reference(image.double())
    torch.testing.assert_close(v.grad, 2 * dense @ (dense @ v.detach()))


def test_images_of_integers_are_scaled():
    image = torch.randint(0, 256, (3, 6, 6), dtype=torch.uint8)
    bytes_, floats = (pyfast.matting_laplacian(i).to_dense() for i in (image, image / 255.0))
    torch.testing.assert_close(bytes_, floats, rtol=0, atol=1e-3)  # float32 rounds colours


IMAGE = torch.rand(3, 6, 7)
WRONG = {
    "an array": (lambda: pyfast.matting_laplacian(IMAGE.numpy()), TypeError, "image to be a torch"),
    "a batch": (lambda: pyfast.matting_laplacian(IMAGE[None]), ValueError, r"\(D, H, W\) or \(H"),
    "NaN": (lambda: pyfast.matting_laplacian(IMAGE / 0 * 0), ValueError, "finite"),
    "integers": (lambda: pyfast.matting_laplacian(IMAGE.long()), TypeError, "floats, uint8"),
    "small": (lambda: pyfast.matting_laplacian(IMAGE, radius=3), ValueError, "at least 7 x 7"),
    "a strip": (lambda: pyfast.matting_laplacian(IMAGE[:, :1]), ValueError, "got 1 x 7"),
    "epsilon": (lambda: pyfast.matting_laplacian(IMAGE, -1.0), ValueError, "epsilon to be positi"),
    "tiny epsilon": (
        lambda: pyfast.matting_laplacian(IMAGE, 5e-324),
        ValueError,
        r"epsilon to be from 1e-300 to 1e\+300, got 5e-324",
    ),
    "layout": (lambda: pyfast.matting_laplacian(IMAGE, layout="crs"), ValueError, "did you mean"),
    "known": (
        lambda: pyfast.matting_laplacian(IMAGE, known=torch.ones(6, 6)),
        ValueError,
        r"known of shape \(6, 7\), got \(6, 6\)",
    ),
    "too many entries": (
        lambda: pyfast.matting_laplacian(torch.zeros(1, 1).expand(9300, 9300)),
        ValueError,
        "less than 2",
    ),
    "a vector": (
        lambda: pyfast.MattingLaplacian(IMAGE) @ torch.rand(41),
        ValueError,
        r"expected v of shape \(42,\), \(42, K\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name):
    call, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        call()


def test_one_and_two_threads_give_the_same_bits():
    image = torch.rand(3, 150, 90)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(pyfast.matting_laplacian(image).values())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
