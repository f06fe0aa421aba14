"""compat.pydensecrf.densecrf: pydensecrf's answers, also where pydensecrf is not installed, what it
refuses for no reason, and by what its names and defaults."""

import inspect
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pydensecrf_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfast.compat.pydensecrf import densecrf, eigen, utils
from pyfast.data import photograph

# Of marginals: between steps they are kept in half precision. Divergences are sums of 36.
ROUNDING = {"rtol": 3e-3, "atol": 1e-3}
STORED = cases.stored()
W, H, L = cases.WIDTH, cases.HEIGHT, cases.LABELS
U, IMAGE = cases.energies(), cases.picture()


@pytest.mark.parametrize("name", cases.CASES)
def test_answers_are_those_that_were_stored(name: str) -> None:
    for ours, theirs in zip(cases.CASES[name](densecrf), STORED[name], strict=True):
        np.testing.assert_allclose(ours, theirs, **ROUNDING)


@pytest.mark.parametrize("name", cases.CASES)
def test_answers_are_those_of_pydensecrf(name: str, original: SimpleNamespace) -> None:
    found, wanted = (cases.CASES[name](module) for module in (densecrf, original.densecrf))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, **ROUNDING)


def test_names_and_values_are_theirs(original: SimpleNamespace) -> None:
    for module, theirs in ((densecrf, original.densecrf), (eigen, original.eigen)):
        public = {name for name in dir(theirs) if not name.startswith("_")}
        assert public - {"Number"} <= set(dir(module))
    for name in ("KernelType", "NormalizationType"):
        for member in getattr(original.densecrf, name):
            assert getattr(densecrf, member.name) == int(member)
            assert isinstance(getattr(densecrf, member.name), getattr(densecrf, name))
    for name, theirs in inspect.getmembers(original.utils, inspect.isfunction):
        if not name.startswith("_") and theirs.__module__ == original.utils.__name__:
            ours = inspect.signature(getattr(utils, name)).parameters
            defaults = {name: parameter.default for name, parameter in ours.items()}
            wanted = inspect.signature(theirs).parameters
            assert defaults == {name: parameter.default for name, parameter in wanted.items()}


# --- random sequences of calls --------------------------------------------------------------------

NUMBERS = st.floats(0.5, 4).map(lambda number: round(number, 2))
FLOATS = {"dtype": np.float32}


@st.composite
def compats(draw: st.DrawFn) -> Any:
    form = draw(st.sampled_from([(), (L,), (L, L)]))
    if form == ():
        return draw(NUMBERS)
    values = draw(st.lists(st.floats(-2, 2), min_size=L * L, max_size=L * L))
    return np.array(values, **FLOATS)[: int(np.prod(form))].reshape(form)


def pixels(draw: st.DrawFn) -> np.ndarray:
    return np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (H, W, 3), np.uint8)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """One call: its method, and arguments by place and by name."""
    how = {"normalization": draw(st.integers(0, 3)), "kernel": draw(st.integers(0, 2))}
    name = draw(st.sampled_from(["energies", "bilateral", "features", "places", "infer", "step"]))
    if name == "energies":
        seed = draw(st.integers(0, 99))
        return "setUnaryEnergy", (np.random.default_rng(seed).random((L, H * W), np.float32),), {}
    if name == "bilateral":
        sigmas = draw(NUMBERS), tuple(20 * draw(NUMBERS) for _ in range(3))
        return "addPairwiseBilateral", (*sigmas, pixels(draw), draw(compats())), how
    if name == "features":
        found = np.random.default_rng(draw(st.integers(0, 99))).random(
            (draw(st.integers(1, 6)), H * W)
        )
        return "addPairwiseEnergy", ((5 * found).astype(np.float32), draw(compats())), how
    if name == "places":  # as it is a lattice only where nothing is normalised
        sigmas = draw(NUMBERS), draw(NUMBERS)
        return "addPairwiseGaussian", (sigmas, draw(compats())), how | {"normalization": 0}
    return name, (draw(st.integers(0, 4)),), {}


def play(module: ModuleType, sequence: list[Any]) -> list[np.ndarray]:
    crf, found = module.DenseCRF2D(W, H, L), []
    crf.setUnaryEnergy(U)  # without one, pydensecrf starts steps from memory that nobody has set
    for method, arguments, options in sequence:
        if method == "infer":
            found.append(np.array(crf.inference(*arguments)))
        elif method == "step":
            q, *rest = crf.startInference()
            for _ in range(*arguments):
                crf.stepInference(q, *rest)
            found += [np.array(q), np.array(crf.klDivergence(q))]
        else:
            getattr(crf, method)(*arguments, **options)
    return [*found, np.array(crf.inference(2))]


@given(st.lists(calls(), min_size=1, max_size=7))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_sequence_of_calls_answers_as_pydensecrf(
    original: SimpleNamespace, sequence: list[Any]
) -> None:
    for ours, theirs in zip(
        play(densecrf, sequence), play(original.densecrf, sequence), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=1e-2)
        assert np.abs(ours - theirs).mean() <= 2e-3 * max(1, np.abs(theirs).mean())


# --- on a photograph, and against the definition --------------------------------------------------


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Energies (21, N) of a rough segmentation and the photograph, (64, 64, 3)."""
    image = photograph("china").permute(1, 2, 0).numpy()[100:164, 300:364].copy()
    rng = np.random.default_rng(0)
    brightness = image.astype(float).sum(2)
    guess = np.digitize(brightness + rng.normal(0, 60, brightness.shape), np.linspace(50, 700, 20))
    noise = rng.gumbel(size=(21, *guess.shape))
    score = noise + 2 * (np.arange(21)[:, None, None] == guess)
    probability = np.exp(score) / np.exp(score).sum(0)
    return utils.unary_from_softmax(probability), np.ascontiguousarray(image)


def deeplab(module: ModuleType, scene: Any, both: bool, iterations: int = 5) -> np.ndarray:
    energies, image = scene
    crf = module.DenseCRF2D(64, 64, 21)
    crf.setUnaryEnergy(energies)
    if both:
        crf.addPairwiseGaussian(sxy=1, compat=3)
    crf.addPairwiseBilateral(sxy=67, srgb=3, rgbim=image, compat=4)
    return np.array(crf.inference(iterations))


def exact(scene: Any, iterations: int = 5) -> np.ndarray:
    """The definition in float64, both kernels normalised symmetrically."""
    energies, image = scene
    y, x = np.mgrid[:64, :64]
    place = np.stack([x, y]).reshape(2, -1)
    kernels = []
    for features, weight in (
        (place / 1.0, 3),
        (np.concatenate([place / 67, image.reshape(-1, 3).T / 3.0]), 4),
    ):
        squares = (features**2).sum(0)
        matrix = np.exp(features.T @ features - (squares[:, None] + squares) / 2)
        root = np.sqrt(matrix.sum(1))
        kernels.append(weight * matrix / root / root[:, None])
    total = sum(kernels)

    def softmax(score: np.ndarray) -> np.ndarray:
        score = np.exp(score - score.max(0))
        return score / score.sum(0)

    found = softmax(-energies.astype(float))
    for _ in range(iterations):
        found = softmax(-energies + found @ total)
    return found


def test_the_bilateral_kernel_of_a_photograph(original: SimpleNamespace, scene: Any) -> None:
    ours, theirs = (deeplab(m, scene, both=False) for m in (densecrf, original.densecrf))
    assert np.abs(ours - theirs).mean() < 5e-5
    assert (ours.argmax(0) == theirs.argmax(0)).mean() > 0.9999


def test_both_kernels_of_a_photograph(original: SimpleNamespace, scene: Any) -> None:
    """As far from the definition as pydensecrf: nearly all of it is the bilateral lattice."""
    ours, theirs = (deeplab(m, scene, both=True) for m in (densecrf, original.densecrf))
    wanted = exact(scene)
    assert np.linalg.norm(ours - wanted) < 1.1 * np.linalg.norm(theirs - wanted)
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.98


@pytest.mark.parametrize("how", range(1, 4))
def test_a_kernel_of_places_is_the_gaussian_sum(how: int, original: SimpleNamespace) -> None:
    """One iteration, which pydensecrf's lattice is further from."""
    y, x = (axis.ravel() for axis in np.mgrid[:H, :W])
    kernel = np.exp(-((x[:, None] - x) ** 2 / 4 + (y[:, None] - y) ** 2 / 9) / 2)
    sums = kernel.sum(0)
    before, after = {1: (1, 0), 2: (0, 1), 3: (0.5, 0.5)}[how]
    start = np.exp(-U) / np.exp(-U).sum(0)
    score = -U + 2 * (start / sums**before) @ kernel / sums**after
    wanted = np.exp(score) / np.exp(score).sum(0)
    errors = []
    for module in (densecrf, original.densecrf):
        crf = module.DenseCRF2D(W, H, L)
        crf.setUnaryEnergy(U)
        crf.addPairwiseGaussian((2, 3), 2, normalization=how)
        errors.append(np.abs(np.array(crf.inference(1)) - wanted).max())
    assert errors[0] < 2e-4
    assert errors[0] < errors[1]


# --- what pydensecrf refuses for no reason --------------------------------------------------------


def answer(energies: Any = U, image: Any = IMAGE, **options: Any) -> np.ndarray:
    crf = densecrf.DenseCRF2D(W, H, L)
    crf.setUnaryEnergy(energies)
    crf.addPairwiseBilateral(5, options.get("srgb", 40), image, options.get("compat", 2))
    return np.array(crf.inference(3))


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "given",
    [
        {"energies": U.astype(np.float64)},
        {"energies": U.astype(np.float16).astype(np.float32)},
        {"energies": U.reshape(L, H, W)},
        {"energies": np.asfortranarray(U)},
        {"energies": np.repeat(U, 2, 1)[:, ::2]},
        {"energies": read_only(U)},
        {"energies": U.tolist()},
        {"image": read_only(IMAGE)},
        {"image": np.ascontiguousarray(IMAGE[:, :, ::-1])[:, :, ::-1]},
        {"image": np.asfortranarray(IMAGE)},
        {"image": IMAGE.astype(np.float32)},
        {"image": IMAGE.astype(np.int64)},
        {"image": IMAGE / 255.0, "srgb": 40 / 255},
        {"srgb": [40, 40, 40]},
        {"srgb": np.array([40.0, 40, 40])},
        {"compat": np.float32(2)},
        {"compat": np.array(2)},
        {"compat": [-2, -2, -2]},
        {"compat": -2 * np.eye(L)},
    ],
    ids=lambda given: ", ".join(given),
)
def test_takes_what_means_the_same(given: dict[str, Any]) -> None:
    np.testing.assert_allclose(answer(**given), answer(), atol=2e-3)


def test_grey_and_many_channels() -> None:
    grey = IMAGE[:, :, 0]
    np.testing.assert_array_equal(answer(image=grey), answer(image=grey[:, :, None]))
    features = utils.create_pairwise_bilateral((5, 5), 40, np.repeat(IMAGE, 2, 2), 2)
    crf = densecrf.DenseCRF(H * W, L)
    crf.setUnaryEnergy(U)
    crf.addPairwiseEnergy(features[[1, 0, *range(2, 8)]], 2)  # x before y
    np.testing.assert_allclose(
        np.array(crf.inference(3)), answer(image=np.repeat(IMAGE, 2, 2)), atol=1e-6
    )


def test_arguments_are_left_alone_and_copied() -> None:
    energies, image = U.copy(), IMAGE.copy()
    crf = densecrf.DenseCRF2D(W, H, L)
    crf.setUnaryEnergy(energies)
    crf.addPairwiseBilateral(5, 40, image, 2)
    before = np.array(crf.inference(3))
    np.testing.assert_array_equal(energies, U)
    np.testing.assert_array_equal(image, IMAGE)
    energies[:], image[:] = 0, 0
    np.testing.assert_array_equal(np.array(crf.inference(3)), before)


def test_whole_floats_are_sizes_and_counts() -> None:
    crf = densecrf.DenseCRF2D(8 / 2, 3.0, np.int64(L), "more", 5)
    crf.setUnaryEnergy(U)
    assert np.array(crf.inference(2.0)).shape == (L, H * W)


def test_without_energies_all_labels_are_alike() -> None:
    crf = densecrf.DenseCRF(5, 4)
    np.testing.assert_allclose(np.array(crf.inference(2)), np.full((4, 5), 0.25))
    np.testing.assert_allclose(np.array(crf.startInference()[0]), np.full((4, 5), 0.25))


def test_impossible_labels_stay_impossible() -> None:
    energies = U.copy()
    energies[1, 3] = np.inf
    found = answer(energies)
    assert found[1, 3] == 0
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_a_unary_serves_many_and_subclasses_work() -> None:
    class Mine(densecrf.DenseCRF2D):
        pass

    unary = densecrf.ConstUnary(U)
    found = []
    for kind in (Mine, densecrf.DenseCRF2D):
        crf = kind(W, H, L)
        crf.setUnary(unary)
        crf.addPairwiseBilateral(5, 40, IMAGE, 2)
        found.append(np.array(crf.inference(3)))
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0], answer())


@pytest.mark.parametrize(
    ("width", "height", "labels"), [(1, 1, 2), (1, 7, 3), (7, 1, 1), (3, 2, 300)]
)
def test_sizes_at_the_edge(width: int, height: int, labels: int) -> None:
    crf = densecrf.DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.random.default_rng(0).random((labels, width * height)))
    crf.addPairwiseGaussian(3, 3)
    crf.addPairwiseBilateral(30, 10, np.zeros((height, width, 3), np.uint8), 3)
    found = np.array(crf.inference(4))
    assert found.shape == (labels, width * height)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_what_a_step_starts_from_may_be_large() -> None:
    """Beyond what half precision, which marginals are kept in, can hold."""
    crfs, starts = (densecrf.DenseCRF2D(W, H, L) for _ in range(2)), (U.copy(), 1e6 * U)
    for crf, start, weight in zip(crfs, starts, (3, 3e-6), strict=True):
        crf.setUnaryEnergy(U)
        crf.addPairwiseBilateral(5, 30, IMAGE, weight)
        crf.stepInference(start, None, None)
    np.testing.assert_allclose(starts[1], starts[0], **ROUNDING)


def test_sigmas_beyond_float32_are_as_good_as_infinite() -> None:
    found = []
    for width in (1e30, 1e300):
        crf = densecrf.DenseCRF2D(W, H, L)
        crf.setUnaryEnergy(U)
        crf.addPairwiseGaussian(width, 3)
        crf.addPairwiseBilateral(width, width, IMAGE, 4)
        found.append(np.array(crf.inference(5)))
    np.testing.assert_array_equal(*found)
