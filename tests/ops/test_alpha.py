"""Alpha mattes: the definition, derivatives, hard pictures, every kind of input, wrong calls."""

import signal
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import diags_array
from scipy.sparse.linalg import spsolve

import pyfast
from pyfast._native import _C
from pyfast.data import matte_scene
from pyfast.data.photographs import photograph
from pyfast.ops.alpha import estimate_alpha_reference
from pyfast.testing import BadCall, OpCase, check_op, checks

WINDOW = {"epsilon": 1e-3, "rtol": 1e-12}


def inputs(batch, size):
    image = torch.rand(batch, 3, size + 2, size + 3, dtype=torch.float64)
    trimap = torch.full(image[:, 0].shape, 0.5, dtype=torch.float64)
    trimap[..., 0], trimap[..., -1] = 0, 1
    prior, confidence = torch.rand(2, *trimap.shape, dtype=torch.float64)
    return image, trimap, prior, confidence + 0.1


def function(image, trimap, prior, confidence):
    return pyfast.estimate_alpha(image, trimap, prior=prior, confidence=confidence, **WINDOW)


CASES = [
    OpCase(
        op="estimate_alpha",
        name="trimap and prior",
        function=function,
        reference=lambda *a: estimate_alpha_reference(*a, epsilon=1e-3),
        inputs=inputs,
        operators=("pyfast::matting_solve", "pyfast::matting_slope"),
        differentiable=(0, 2, 3),
        dtypes=(torch.float64,),
        tolerances={torch.float64: 1e-8},
        autocast=None,
        empty_batch=False,
        tiles=(16,),
        large=70,
    )
]
# Pictures are looked at before they are solved, which transforms and traces do not allow.
KEPT = {
    "reference",
    "sizes",
    "gradcheck",
    "create_graph",
    "opcheck",
    "repeat",
    "threads",
    "capabilities",
}


@pytest.mark.parametrize(
    ("case", "promise", "device"),
    [
        pytest.param(*check, marks=pytest.mark.slow if check[1] == "opcheck" else (), id=check[1])
        for check in checks(CASES, on=("cpu",))
        if check[1] in KEPT
    ],
)
def test_promise(case, promise, device):
    assert check_op(case, only=[promise], device=device)[promise] == "kept"


def scene(size=120, grey=False):
    """A photograph over another behind a disc with a soft edge: image, trimap, truth."""
    foreground, background = (
        photograph(name)[:, :size, :size].double() / 255 for name in ("china", "flower")
    )
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    alpha = ((0.65 - distance) / 0.15 + 0.5).clamp(0, 1)
    image = alpha * foreground + (1 - alpha) * background
    if grey:
        image = image.mean(0, keepdim=True).expand(3, -1, -1).contiguous()
    trimap = torch.where(alpha > 0.99, 1.0, torch.where(alpha < 0.01, 0.0, 0.5))
    near = (distance - 0.65).abs() < 0.2
    return image, torch.where(near, 0.5, trimap).double(), alpha


def direct(image, trimap):
    """The alpha of a sparse direct solve."""
    laplacian = pyfast.matting_laplacian(image, layout="scipy").tocsr()
    known = ((trimap <= 0.1) | (trimap >= 0.9)).flatten().numpy()
    values = (trimap >= 0.9).flatten().double().numpy()
    unknown = np.flatnonzero(~known)
    rows = laplacian[unknown]
    values[unknown] = spsolve(
        rows[:, unknown].tocsc(), -(rows[:, np.flatnonzero(known)] @ values[known])
    )
    return torch.from_numpy(values.clip(0, 1)).view(trimap.shape)


@pytest.mark.parametrize("grey", [False, True])
def test_agrees_with_a_direct_solve(grey):
    image, trimap, _ = scene(grey=grey)
    alpha, info = pyfast.estimate_alpha(image, trimap, return_info=True)
    error = (alpha - direct(image, trimap)).abs()
    assert error.max() < 1e-3
    assert error.mean() < 1e-5
    assert info.converged
    assert info.iterations <= 50


def hard_pictures():
    image, trimap, _ = scene()
    generator = torch.Generator().manual_seed(0)
    dots = torch.full_like(trimap, 0.5)
    dots[60, 60], dots[3, 3], dots[110, 20] = 1, 0, 0
    yield "burnt out", (image * 2).clamp(0, 1), trimap, {}
    yield "under-exposed", image * 0.02, trimap, {}
    yield (
        "black and white",
        (image.mean(0, keepdim=True) > 0.5).double().expand(3, -1, -1),
        trimap,
        {},
    )
    yield "flat", torch.full_like(image, 0.4), trimap, {}
    yield "strokes of one pixel", image, dots, {}
    yield "tiny epsilon", image, trimap, {"epsilon": 1e-9}
    yield "posterised", (image * 4).round() / 4, trimap, {}
    yield "noise", torch.rand(image.shape, generator=generator), trimap, {}


@pytest.mark.parametrize("name", [name for name, *_ in hard_pictures()])
def test_iterations_on_hard_pictures(name):
    (picture,) = (p for p in hard_pictures() if p[0] == name)
    _, info = pyfast.estimate_alpha(*picture[1:3], return_info=True, **picture[3])
    assert info.converged
    # Posterised, every patch of one colour is nearly a system of its own.
    assert info.iterations <= (600 if name == "posterised" else 60)


def test_iterations_hardly_grow_with_size():
    counts = []
    for size in (225, 425):
        image, trimap, _ = scene(size)
        counts.append(pyfast.estimate_alpha(image, trimap, return_info=True)[1].iterations)
    assert counts[1] <= 2.2 * counts[0]


@pytest.mark.parametrize("size", [(1225, 1633), (1732, 2309)])
def test_large_pictures(size):
    """Some of their nodes see no change of some colour: only rounding is left of its weight."""
    made = matte_scene(*size)
    _, info = pyfast.estimate_alpha(made.image, made.trimap, return_info=True)
    assert info.converged
    assert info.iterations <= 100


def test_strokes_and_confidences_say_the_same():
    image, _, _ = scene(60)
    strokes = torch.full((60, 60), 0.5, dtype=torch.float64)
    strokes[28:32, 28:32], strokes[:3] = 1, 0
    held = pyfast.estimate_alpha(image, scribbles=strokes)
    confidence = (strokes != 0.5).double() * 1e4
    soft = pyfast.estimate_alpha(image, prior=strokes, confidence=confidence)
    assert (held - soft).abs().max() < 1e-2


@pytest.mark.parametrize("weight", [1, 100, 5000, 1e4, 1e8, 1e300])
def test_large_confidences_leave_the_rest_as_exact(weight):
    image, trimap, _ = scene(60)
    marked = (trimap != 0.5).double()
    prior = torch.where(trimap == 0.5, 0.3, trimap * 0.9 + 0.05)
    laplacian = pyfast.matting_laplacian(image, layout="scipy").tocsc()
    diagonal = (marked * min(weight, 1e10) + 1e-3).flatten().numpy()
    exact = spsolve((laplacian + diags_array(diagonal)).tocsc(), diagonal * prior.flatten().numpy())
    alpha, info = pyfast.estimate_alpha(
        image, prior=prior, confidence=marked * weight + 1e-3, return_info=True
    )
    error = np.abs(alpha.flatten().numpy() - exact.clip(0, 1))
    assert info.converged
    assert error.max() < 1e-3
    assert error.mean() < 1e-5


def test_every_kind_of_picture_gives_the_same_matte():
    image, trimap, _ = scene(40)
    bytes_ = (image * 255).round().to(torch.uint8)
    array = bytes_.permute(1, 2, 0).numpy()
    marks = (trimap * 255).round().to(torch.uint8).numpy()
    alpha = pyfast.estimate_alpha(array, marks)
    assert isinstance(alpha, np.ndarray)
    assert alpha.dtype == np.uint8
    same = pyfast.estimate_alpha(Image.fromarray(array), Image.fromarray(marks))
    assert np.array_equal(np.asarray(same), alpha)
    tensor = pyfast.estimate_alpha(bytes_, torch.from_numpy(marks))
    assert np.array_equal(tensor.numpy(), alpha)
    doubles = pyfast.estimate_alpha(array / 255.0, trimap.numpy())
    assert doubles.dtype == np.float64
    assert np.abs(doubles - alpha / 255.0).max() <= 0.5 / 255 + 1e-6
    rgba = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    with pytest.warns(UserWarning, match="alpha channel"):
        opaque = pyfast.estimate_alpha(rgba, marks)
    assert np.array_equal(opaque, alpha)
    grey = pyfast.estimate_alpha(array[..., 0], marks)
    assert grey.shape == marks.shape


def test_batch_is_its_pictures():
    pairs = [scene(40), scene(40, grey=True)]
    images, trimaps = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
    both = pyfast.estimate_alpha(images, trimaps)
    for alpha, (image, trimap, _) in zip(both, pairs, strict=True):
        assert torch.equal(alpha, pyfast.estimate_alpha(image, trimap))


def test_first_guess_saves_iterations():
    image, trimap, _ = scene()
    alpha, cold = pyfast.estimate_alpha(image, trimap, return_info=True)
    _, warm = pyfast.estimate_alpha(image, trimap, x0=alpha, return_info=True)
    assert warm.iterations < cold.iterations


def test_nothing_unknown_returns_the_trimap():
    image, _, _ = scene(20)
    trimap = (torch.rand(20, 20) > 0.5).double()
    assert torch.equal(pyfast.estimate_alpha(image, trimap), trimap)
    ones = torch.ones(20, 20, dtype=torch.float64)
    assert torch.equal(pyfast.estimate_alpha(image, ones), ones)


def test_one_unknown_pixel():
    image, _, _ = scene(20)
    trimap = (torch.rand(20, 20) > 0.5).double()
    trimap[7, 9] = 0.5
    alpha = pyfast.estimate_alpha(image, trimap)
    torch.testing.assert_close(alpha, direct(image, trimap), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (3, 40), (40, 3), (4, 17), (17, 5)])
@pytest.mark.parametrize("seed", range(4))
def test_thin_pictures(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(3, *shape, generator=generator, dtype=torch.float64)
    trimap = torch.full(shape, 0.5, dtype=torch.float64)
    trimap[0, 0], trimap[-1, -1] = 0, 1
    alpha = pyfast.estimate_alpha(image, trimap, epsilon=1e-4)
    reference = estimate_alpha_reference(
        image[None], trimap[None], torch.zeros(1), torch.zeros(1, *shape), 1e-4
    )
    assert (alpha - reference[0]).abs().max() < 1e-4


def test_numbers_of_numpy_are_numbers():
    image, trimap = PICTURE, TRIMAP
    plain = pyfast.estimate_alpha(image, trimap, epsilon=2**-12, rtol=2**-20, atol=0.25)
    numbers = {"epsilon": np.float32(2**-12), "rtol": np.float32(2**-20), "atol": np.float32(0.25)}
    assert np.array_equal(pyfast.estimate_alpha(image, trimap, **numbers), plain)


def test_a_signal_ends_a_long_solve():
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    image, trimap = torch.rand(3, 40, 40), torch.full((40, 40), 0.5)
    trimap[0], trimap[-1] = 0, 1
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Interrupted):
            pyfast.estimate_alpha(image, trimap, rtol=1e-300, maxiter=10**7)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_callback_hears_every_iteration_and_its_error_comes_through():
    image, trimap, _ = scene(60)
    heard = []
    _, info = pyfast.estimate_alpha(
        image, trimap, callback=lambda *each: heard.append(each), return_info=True
    )
    assert [each[0] for each in heard] == list(range(1, info.iterations + 1))
    assert heard[-1][1] <= heard[-1][2] == 1e-7

    def stop(*_):
        raise KeyboardInterrupt

    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        warnings.simplefilter("ignore")
        pyfast.estimate_alpha(image, trimap, callback=stop)


@pytest.mark.parametrize("atol", [0.01, 0.001])
def test_a_wanted_error_ends_iterations_early(atol):
    image, trimap, _ = scene(200)
    exact, full = pyfast.estimate_alpha(image, trimap, rtol=1e-9, return_info=True)
    alpha, info = pyfast.estimate_alpha(image, trimap, rtol=1e-9, atol=atol, return_info=True)
    assert info.converged
    assert info.iterations < full.iterations
    assert (alpha - exact).abs().max() < atol


def test_too_few_iterations_keep_the_iterate_and_warn():
    image, trimap, _ = scene(60)
    with pytest.warns(RuntimeWarning, match="stopped after 3 iterations with a residual of"):
        alpha, info = pyfast.estimate_alpha(image, trimap, maxiter=3, return_info=True)
    assert not info.converged
    assert (alpha - direct(image, trimap)).abs().mean() < 0.2


def test_instruction_sets_agree():
    image, trimap, _ = scene(60)
    before, mattes = _C.cpu_capability(), []
    try:
        for name in _C.cpu_capabilities():
            _C.set_cpu_capability(name)
            mattes.append(pyfast.estimate_alpha(image, trimap, rtol=1e-9))
    finally:
        _C.set_cpu_capability(before)
    for matte in mattes[1:]:
        assert (matte - mattes[0]).abs().max() < 1e-6


PICTURE, TRIMAP = torch.rand(3, 6, 7), torch.full((6, 7), 0.5)
TRIMAP[0], TRIMAP[-1] = 0, 1


def refused(what, error, match, *arguments, **options):
    return BadCall(what, lambda: pyfast.estimate_alpha(*arguments, **options), error, match)


WRONG = [
    refused("a list", TypeError, "image to be", [[0.0]], TRIMAP),
    refused("nothing marked", ValueError, "expected a trimap, scribbles or a prior", PICTURE),
    refused(
        "no foreground", ValueError, "trimap to mark some pixels as foreground", PICTURE, TRIMAP / 2
    ),
    refused(
        "no background",
        ValueError,
        "background, got none; alpha would be 1",
        PICTURE,
        TRIMAP.clamp(0.5),
    ),
    refused("both", ValueError, "got both", PICTURE, TRIMAP, scribbles=TRIMAP),
    refused("another size", ValueError, r"trimap of shape \(6, 7\)", PICTURE, TRIMAP[1:]),
    refused("NaN", ValueError, "image of finite", PICTURE / 0 * 0, TRIMAP),
    refused("NaN in the trimap", ValueError, "trimap of finite", PICTURE, TRIMAP / 0),
    refused("0 to 255", ValueError, "divide by 255", PICTURE * 255, TRIMAP),
    refused("two channels", ValueError, "image of shape", PICTURE[:2], TRIMAP),
    refused("a strip", ValueError, "at least 3 x 3", PICTURE[:, :1], TRIMAP[:1]),
    refused("radius", ValueError, "at least 7 x 7", PICTURE, TRIMAP, radius=3),
    refused("epsilon", ValueError, "epsilon to be positive", PICTURE, TRIMAP, epsilon=0.0),
    refused("rtol", ValueError, "rtol between", PICTURE, TRIMAP, rtol=0.0),
    refused("atol", ValueError, "atol to be a float between 0 and 1", PICTURE, TRIMAP, atol=2.0),
    refused("maxiter", ValueError, "maxiter to be positive", PICTURE, TRIMAP, maxiter=0),
    refused("a prior alone", ValueError, "confidence with prior", PICTURE, prior=TRIMAP),
    refused("no weight", ValueError, "above 0", PICTURE, prior=TRIMAP, confidence=TRIMAP * 0),
    refused("a negative", ValueError, "at least 0", PICTURE, prior=TRIMAP, confidence=-TRIMAP),
    refused("callback", TypeError, "callback to be callable or None", PICTURE, TRIMAP, callback=3),
    refused("x0", ValueError, "x0 of shape", PICTURE, TRIMAP, x0=TRIMAP[1:]),
]


@pytest.mark.parametrize("bad", WRONG, ids=lambda bad: bad.what)
def test_wrong_calls(bad):
    with pytest.raises(bad.error, match=bad.match):
        bad.call()


def test_laplacian_solves_any_system():
    image = scene(30)[0]
    laplacian = pyfast.MattingLaplacian(image)
    generator = torch.Generator().manual_seed(0)
    rhs = torch.randn(900, 2, generator=generator, dtype=torch.float64)
    diag = torch.rand(900, generator=generator, dtype=torch.float64)
    x = laplacian.solve(rhs, diag, rtol=1e-10)
    expected = spsolve((laplacian.to_scipy() + diags_array(diag.numpy())).tocsc(), rhs.numpy())
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(laplacian.solve(rhs.numpy(), diag.numpy(), rtol=1e-10), x)
    rhs = rhs[:, 0] - rhs[:, 0].mean()
    x = laplacian.solve(rhs, rtol=1e-9)
    assert (laplacian @ x - rhs).norm() < 1e-6 * rhs.norm()
    assert abs(x.mean()) < 1e-6 * x.abs().max()
    with pytest.raises(ValueError, match="rhs that sums to 0"):
        laplacian.solve(rhs + 1)
    with pytest.raises(ValueError, match="above 0 somewhere"):
        laplacian.solve(rhs, 0 * rhs)
    with pytest.raises(ValueError, match="diag of shape"):
        laplacian.solve(rhs, diag[1:])
