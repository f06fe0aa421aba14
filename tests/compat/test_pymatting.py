"""PyMatting's interface: known values, and its own results where it is installed."""

import importlib
import inspect
import itertools

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.sparse
import scipy.sparse.linalg

import pyfast.compat.pymatting as ours
from pyfast.compat import install

SUBMODULES = [
    "alpha.estimate_alpha_cf",
    "alpha.estimate_alpha_lkm",
    "cutout.cutout",
    "foreground.estimate_foreground_cf",
    "foreground.estimate_foreground_ml",
    "laplacian.cf_laplacian",
    "laplacian.laplacian",
    "laplacian.lkm_laplacian",
    "laplacian.uniform_laplacian",
    "preconditioner.ichol",
    "preconditioner.jacobi",
    "preconditioner.vcycle",
    "solver.callback",
    "solver.cg",
    "util.boxfilter",
    "util.distance",
    "util.kdtree",
    "util.timer",
    "util.util",
]


@pytest.fixture(scope="module")
def scene():
    """Two smooth layers behind a disc with a soft rim: image, trimap, alpha."""
    y, x = np.mgrid[:40, :50] / 50
    radius = np.hypot(y - 0.4, x - 0.5)
    alpha = np.clip((0.28 - radius) * 12 + 0.5, 0, 1)
    front = np.stack([0.8 - 0.3 * y, 0.6 + 0.2 * x, 0.3 + 0 * x], -1)
    back = np.stack([0.1 + 0.2 * x, 0.2 + 0 * x, 0.5 + 0.3 * y], -1)
    trimap = np.where(radius < 0.2, 1.0, np.where(radius > 0.36, 0.0, 0.5))
    return alpha[..., None] * front + (1 - alpha[..., None]) * back, trimap, alpha


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("pymatting", reason="the extra `bench` is not installed")


# --- names and signatures -------------------------------------------------------------------------


def test_every_public_name_is_there(theirs):
    public = {name for name in dir(theirs) if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(theirs, name))}
    assert public - modules - set(ours.__all__) == set()
    for module in SUBMODULES:
        importlib.import_module(f"pyfast.compat.pymatting.{module}")


@pytest.mark.parametrize("name", ours.__all__)
def test_arguments_have_the_same_names_and_defaults(name, theirs):
    thing, other = getattr(ours, name), getattr(theirs, name)
    if not inspect.isfunction(other) or "Not offered" in (thing.__doc__ or ""):
        return
    if name in ("apply_to_channels", "boxfilter"):  # decorated
        return
    mine, others = (inspect.signature(each).parameters for each in (thing, other))
    assert list(mine) == list(others)
    for one in mine:
        default, their_default = mine[one].default, others[one].default
        if isinstance(their_default, (list, dict)):
            default = type(their_default)(default)
            their_default = type(their_default)(their_default)
        assert default == their_default, one


@pytest.mark.parametrize(
    "name",
    [f"estimate_alpha_{method}" for method in ("knn", "lbdm", "rw", "sm")]
    + [f"{method}_laplacian" for method in ("knn", "lbdm", "rw")],
)
def test_what_is_not_offered_says_what_to_use(name):
    instead = "estimate_alpha_cf" if name.startswith("est") else "cf_laplacian"
    with pytest.raises(NotImplementedError, match=f"has no {name}: use {instead}, or PyMatting"):
        getattr(ours, name)(np.zeros((3, 3, 3)), np.zeros((3, 3)))


def test_installed_it_is_found_under_pymattings_name():
    with install("pymatting"):
        import pymatting
        from pymatting.alpha.estimate_alpha_cf import estimate_alpha_cf
        from pymatting.util.util import stack_images
    assert estimate_alpha_cf is ours.estimate_alpha_cf
    assert stack_images is ours.stack_images
    assert pymatting.cutout is ours.cutout


# --- matrices and mattes --------------------------------------------------------------------------


def test_the_laplacian_annihilates_constants_and_leaves_known_windows_out(scene):
    image, trimap, _ = scene
    matrix = ours.cf_laplacian(image)
    assert isinstance(matrix, scipy.sparse.csr_matrix)
    assert abs(matrix @ np.ones(matrix.shape[0])).max() < 1e-12
    known = ours.trimap_split(trimap)[2]
    partial = ours.cf_laplacian(image, is_known=known)
    np.testing.assert_allclose(partial[~known].toarray(), matrix[~known].toarray(), atol=1e-13)


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
def test_the_operator_is_the_matrix(scene, radius):
    image = scene[0][:24, :20]
    product, diagonal = ours.lkm_laplacian(image, 1e-5, radius)
    matrix = ours.cf_laplacian(image, 1e-5, radius)
    vector = np.random.default_rng(0).random(image.shape[0] * image.shape[1])
    np.testing.assert_allclose(product(vector), matrix @ vector, atol=1e-8)
    np.testing.assert_allclose(diagonal, matrix.diagonal(), atol=1e-8)
    alone = ours.lkm_laplacian(image, 1e-5, radius, return_diagonal=False)
    np.testing.assert_array_equal(alone(vector), product(vector))


@pytest.mark.parametrize(
    "make", [None, ours.ichol, ours.jacobi], ids=["default", "ichol", "jacobi"]
)
def test_alpha_is_the_solution_of_the_system(scene, make):
    image, trimap, true = scene
    alpha = ours.estimate_alpha_cf(image, trimap, make)
    _, _, known, unknown = ours.trimap_split(trimap)
    matrix = ours.cf_laplacian(image)[unknown]
    right = -matrix[:, known] @ (trimap.ravel()[known] >= 0.9).astype(float)
    exact = trimap.ravel().copy()
    exact[unknown] = scipy.sparse.linalg.spsolve(matrix[:, unknown].tocsc(), right)
    np.testing.assert_allclose(alpha.ravel(), exact.clip(0, 1), atol=1e-3)
    assert abs(alpha - true).mean() < 0.02


def test_alpha_takes_the_arguments_of_its_parts(scene):
    image, trimap, _ = scene
    counter = ours.CounterCallback()
    words = {"laplacian_kwargs": {"epsilon": 1e-5}, "cg_kwargs": {"callback": counter}}
    alpha = ours.estimate_alpha_cf(image, trimap, **words)
    assert counter.n > 0
    plain = ours.estimate_alpha_cf(image, trimap, laplacian_kwargs={"epsilon": 1e-5})
    np.testing.assert_allclose(alpha, plain, atol=1e-3)
    unknown = ours.trimap_split(trimap)[3]
    start = {"x0": plain.ravel()[unknown], "rtol": 1e-6, "maxiter": 500}
    again = ours.estimate_alpha_cf(
        image, trimap, laplacian_kwargs={"epsilon": 1e-5}, cg_kwargs=start
    )
    np.testing.assert_allclose(again, plain, atol=1e-3)
    with pytest.raises(TypeError, match="laplacian_kwargs of epsilon, radius, got eps too"):
        ours.estimate_alpha_cf(image, trimap, laplacian_kwargs={"eps": 1e-5})
    with pytest.raises(TypeError, match=r"cg_kwargs of .*, got tolerance too"):
        ours.estimate_alpha_cf(image, trimap, cg_kwargs={"tolerance": 1e-5})


def test_alpha_with_large_kernels_is_near_the_truth(scene):
    image, trimap, true = scene
    alpha = ours.estimate_alpha_lkm(image, trimap, laplacian_kwargs={"radius": 4, "epsilon": 1e-6})
    assert abs(alpha - true).mean() < 0.02


def test_a_trimap_without_marks_fails(scene):
    image = scene[0]
    for value, word in ((1.0, "background"), (0.0, "foreground")):
        with pytest.raises(ValueError, match=f"(?i){word}"):
            ours.estimate_alpha_cf(image, np.full(image.shape[:2], value))


def test_alpha_equals_pymattings(scene, theirs):
    image, trimap, _ = scene
    for name, words in (
        ("estimate_alpha_cf", {}),
        ("estimate_alpha_lkm", {"laplacian_kwargs": {"radius": 2}}),
    ):
        found, wanted = (getattr(m, name)(image, trimap, **words) for m in (ours, theirs))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_foregrounds_are_as_good_as_pymattings(scene, theirs):
    image, _, alpha = scene
    weight = alpha[..., None]
    exact = theirs.estimate_foreground_cf(image, alpha, return_background=True, rtol=1e-9)
    closed = ours.estimate_foreground_cf(image, alpha, return_background=True)
    for found, wanted, part in zip(closed, exact, (weight, 1 - weight), strict=True):
        np.testing.assert_allclose(part * found, part * wanted, atol=2e-3)
    found, other = (
        m.estimate_foreground_ml(image, alpha, return_background=True) for m in (ours, theirs)
    )
    for a, b in zip(found, other, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
    errors = [np.square(weight * (m[0] - exact[0])).mean() for m in (found, other)]
    assert errors[0] < 1.2 * errors[1]


def test_a_foreground_of_other_neighbours_is_refused(scene):
    image, _, alpha = scene
    with pytest.raises(ValueError, match=r"estimate_foreground_cf: expected neighbors to be"):
        ours.estimate_foreground_cf(image, alpha, neighbors=[(1, 1)])


# --- solvers --------------------------------------------------------------------------------------


def positive_definite(size, seed=0):
    entries = np.random.default_rng(seed).random((size, size))
    entries[entries < 0.7] = 0
    return entries + entries.T + size * np.eye(size)


@pytest.mark.parametrize(
    ("size", "reorthogonalize"), [*itertools.product((1, 5, 30), (False, True))]
)
def test_conjugate_gradients(size, reorthogonalize):
    matrix, true = positive_definite(size), np.random.default_rng(1).random(size)
    for M in (None, np.diag(1 / np.diag(matrix)), ours.jacobi(matrix)):
        counter = ours.CounterCallback()
        words = {"M": M, "callback": counter, "reorthogonalize": reorthogonalize}
        found = ours.cg(matrix, matrix @ true, atol=1e-10, rtol=0, **words)
        np.testing.assert_allclose(found, true, atol=1e-9)
        assert 0 < counter.n <= size + 2
    with pytest.raises(ValueError, match=r"cg: expected a residual of at most .* within 0 steps"):
        ours.cg(matrix, true, maxiter=0)


def test_factors():
    matrix = scipy.sparse.csc_matrix(positive_definite(40))
    right = np.random.default_rng(2).random(40)
    factors = ours.ichol(matrix)
    np.testing.assert_allclose(matrix @ factors(right), right, atol=1e-10)
    np.testing.assert_allclose((factors.L @ factors.L.T).toarray(), matrix.toarray(), atol=1e-10)
    ours.ichol(scipy.sparse.csr_matrix(np.diag([1.0, 2.0])))
    with pytest.raises(ValueError, match=r"A to be a scipy\.sparse\.csc_matrix"):
        ours.ichol(np.eye(3))
    with pytest.raises(ValueError, match="A to be square"):
        ours.ichol(scipy.sparse.csc_matrix(np.ones((2, 3))))
    with pytest.raises(ValueError, match="at most max_nnz = 3 entries"):
        ours.ichol(matrix, max_nnz=3)
    with pytest.raises(ValueError, match="A to be positive definite"):
        ours.ichol(scipy.sparse.csc_matrix(np.diag([1.0, -1.0])))


def test_preconditioners_save_steps(scene):
    image, trimap, _ = scene
    matrix, right = ours.make_linear_system(ours.cf_laplacian(image), trimap)
    steps = {}
    for name, M in (
        ("none", None),
        ("jacobi", ours.jacobi(matrix)),
        ("vcycle", ours.vcycle(matrix, trimap.shape)),
        ("ichol", ours.ichol(matrix)),
    ):
        counter = ours.CounterCallback()
        ours.cg(matrix, right, M=M, callback=counter)
        steps[name] = counter.n
    assert steps["none"] > steps["jacobi"] > steps["vcycle"] > steps["ichol"]
    cache = {}
    first, second = (ours.vcycle(matrix, trimap.shape, cache=cache)(right) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_make_linear_system(scene):
    image, trimap, _ = scene
    matrix = ours.cf_laplacian(image)
    system, right, c = ours.make_linear_system(matrix, trimap, 10.0, return_c=True)
    known = ours.trimap_split(trimap)[2]
    np.testing.assert_array_equal(c, 10 * known)
    np.testing.assert_allclose((system - matrix).diagonal(), c)
    np.testing.assert_array_equal(right, 10 * (trimap.ravel() >= 0.9))


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "radius"), [*itertools.product(("valid", "same", "full"), (1, 3))]
)
def test_boxfilter(mode, radius):
    picture = np.random.default_rng(0).random((9, 11, 2))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1))
    wanted = [scipy.signal.correlate2d(picture[..., c], kernel, mode) for c in range(2)]
    np.testing.assert_allclose(
        ours.boxfilter(picture, radius, mode), np.stack(wanted, -1), atol=1e-12
    )
    with pytest.raises(ValueError, match="boxfilter: expected a radius from 1 whose windows fit"):
        ours.boxfilter(picture, 5, mode)
    with pytest.raises(ValueError, match="boxfilter: expected mode to be one of valid, same, full"):
        ours.boxfilter(picture, 1, "some")


def test_distances():
    mask = np.random.default_rng(0).random((13, 29)) < 0.9
    wanted = scipy.ndimage.distance_transform_edt(mask)
    np.testing.assert_allclose(ours.distance_transform(mask), wanted)
    assert np.isinf(ours.distance_transform(np.ones((3, 3)))).all()


def test_nearest_points():
    points = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    distances, indices = ours.knn(points, points, 4)
    assert distances.shape == indices.shape == (50, 4)
    np.testing.assert_array_equal(indices[:, 0], np.arange(50))
    assert (np.diff(distances, axis=1) >= 0).all()
    with pytest.raises(ValueError, match="k of at most 50 points, got 51"):
        ours.knn(points, points, 51)
    with pytest.raises(ValueError, match=r"data_points of shape \(N, d\), float32"):
        ours.KDTree(points.astype(np.float64))


def test_files(tmp_path, scene):
    image, trimap, _ = scene
    ours.save_image(tmp_path / "new" / "image.png", image)
    ours.save_image(tmp_path / "trimap.png", trimap)
    loaded = ours.load_image(tmp_path / "new" / "image.png", "RGB")
    assert loaded.dtype == np.float64
    np.testing.assert_allclose(loaded, image, atol=1 / 255)
    assert ours.load_image(tmp_path / "trimap.png", "GRAY", 0.5, "nearest").shape == (20, 25)
    assert ours.load_image(tmp_path / "trimap.png", "gray", (10, 5)).shape == (5, 10)
    ours.cutout(tmp_path / "new" / "image.png", tmp_path / "trimap.png", tmp_path / "out.png")
    assert ours.load_image(tmp_path / "out.png").shape == (40, 50, 4)
    ours.save_image(tmp_path / "small.png", trimap[:5])
    with pytest.raises(ValueError, match=r"a trimap of the size of the image, \(40, 50\), got"):
        ours.cutout(tmp_path / "new" / "image.png", tmp_path / "small.png", tmp_path / "o.png")
    with pytest.raises(TypeError, match="save_image: expected an image of uint8, float32"):
        ours.save_image(tmp_path / "x.png", np.zeros((2, 2), int))


def test_pictures():
    grey, rgb = np.full((2, 3), 0.5), np.zeros((4, 2, 3))
    assert ours.to_rgb8(grey).tolist() == [[[127] * 3] * 3] * 2
    assert ours.to_rgb8(ours.stack_images(rgb, rgb[..., 0])).shape == (4, 2, 3)
    with pytest.raises(ValueError, match="to_rgb8: expected"):
        ours.to_rgb8(np.zeros((2, 2, 5)))
    grid = ours.make_grid([grey, None, rgb], nx=2)
    assert grid.shape == (8, 6, 3)
    assert (grid[:2, :3] == 0.5).all()
    assert ours.make_grid([]) is None
    np.testing.assert_allclose(ours.blend(rgb + 1, rgb, np.full((4, 2), 0.25)), 0.25)
    colours = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    mixed = ours.remove_background_bicolor(np.array([[0.25, 0, 0.75]])[None], *colours)
    np.testing.assert_allclose(mixed, [[[1, 0, 0, 0.25]]])


def test_small_helpers():
    np.testing.assert_allclose(ours.normalize([1, 2, 3]), [0, 0.5, 1])
    assert [ours.div_round_up(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert ours.isiterable([1])
    assert not ours.isiterable(1)
    x, y = ours.grid_coordinates(2, 3, flatten=True)
    assert (x.tolist(), y.tolist()) == ([0, 1] * 3, [0, 0, 1, 1, 2, 2])
    generator = np.random.default_rng(0)
    a, b, matrices = generator.random((5, 3)), generator.random((5, 3)), generator.random((5, 2, 3))
    np.testing.assert_allclose(ours.vec_vec_dot(a, b), (a * b).sum(1))
    np.testing.assert_allclose(ours.vec_vec_outer(a, b)[2], np.outer(a[2], b[2]))
    np.testing.assert_allclose(ours.mat_vec_dot(matrices, a)[2], matrices[2] @ a[2])
    np.testing.assert_allclose(ours.row_sum(matrices[0]), matrices[0].sum(1))
    kernel, picture = generator.random((3, 3)), generator.random((5, 6))
    found = (ours.sparse_conv_matrix(6, 5, kernel) @ picture.ravel()).reshape(5, 6)
    wanted = scipy.ndimage.correlate(picture, kernel, mode="nearest")
    np.testing.assert_allclose(found, wanted)
    laplacian = ours.uniform_laplacian(np.zeros((4, 5, 3)))
    np.testing.assert_allclose(laplacian @ np.ones(20), 0, atol=1e-14)
    timer = ours.Timer()
    assert 0 <= timer.stop("so long") < 60


def test_trimaps():
    trimap = np.array([[1, 0], [0.5, 0.2]])
    masks = ours.trimap_split(trimap)
    assert [mask.tolist() for mask in masks[:2]] == [
        [True, False, False, False],
        [False, True, False, False],
    ]
    assert ours.trimap_split(trimap, flatten=False)[3].shape == (2, 2)
    np.testing.assert_allclose(
        ours.fix_trimap(np.array([0, 0.1, 0.4, 0.9, 1]), 0.2, 0.8), [0, 0, 0.5, 1, 1]
    )
    with pytest.raises(ValueError, match="lower_threshold <= upper_threshold"):
        ours.fix_trimap(trimap, 0.9, 0.1)
    with pytest.raises(ValueError, match="did not contain background values"):
        ours.trimap_split(np.ones((2, 2)))
    with pytest.warns(UserWarning, match="trimap.max"):
        ours.trimap_split(trimap * 2)
    with pytest.warns(UserWarning, match=r"Expected RGB|values should|Unexpected") as warned:
        ours.sanity_check_image(np.full((2, 2), -300))
    assert len(warned) == 3
