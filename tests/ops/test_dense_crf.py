"""The case table of the dense CRF: filters, mean field and what they are made of."""

import math

import pytest
import torch
from dense_crf_bad_calls import BAD_CALLS
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

import pyfast
from pyfast.ops import _dense_crf_reference as definitions
from pyfast.ops._dense_crf_operators import NORMALIZATIONS, build_lattice
from pyfast.testing import OpCase, check_op, checks

LATTICE = (
    "pyfast::gaussian_lattice",
    "pyfast::gaussian_filter",
    "pyfast::gaussian_filter_backward",
)
EXACT = ("pyfast::gaussian_exact", "pyfast::gaussian_exact_backward")


def filter_by(features, values, method, normalization, transposed=False):
    kernel = pyfast.GaussianFilter(features, method)
    return (kernel.transpose if transposed else kernel.filter)(values, normalization)


def filter_definition(features, values, method, normalization, transposed=False):
    def plain(x):
        if method == "exact":
            return definitions.exact_filter_reference(features, x)
        closed = method == "closed"
        return definitions.lattice_filter_reference(features, x, closed=closed)

    def back(x):
        if method == "exact":
            return definitions.exact_filter_reference(features, x)
        return definitions.lattice_filter_reference(
            features, x, closed=method == "closed", transposed=True
        )

    if not transposed:
        return definitions.normalized(plain, values, normalization)(values)
    mass = plain(torch.ones_like(values[:, :1]))
    if normalization == "before":
        return back(values) / mass
    if normalization == "after":
        return back(values / mass)
    return back(values / mass.sqrt()) / mass.sqrt()


@pytest.mark.parametrize("method", ["lattice", "closed", "exact"])
@pytest.mark.parametrize("dims", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("normalization", ["before", "after", "symmetric"])
def test_filters_are_their_definition(method, dims, normalization):
    if method == "closed" and dims == 8:
        pytest.skip("the definition takes too long")
    torch.manual_seed(dims)
    features = torch.randn(2, dims, 23, dtype=torch.float64)
    values = torch.randn(2, 10, 23, dtype=torch.float64)
    for transposed in (False, True):
        arguments = method, normalization, transposed
        expected = filter_definition(features, values, *arguments)
        actual = filter_by(features, values, *arguments)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-11)
        low = filter_by(features.float(), values.float(), *arguments)
        torch.testing.assert_close(low.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [0, 1, 2, 7, 8, 9, 16, 31, 33, 70])
@pytest.mark.parametrize("points", [0, 1, 7, 8, 9, 100])
def test_every_number_of_channels_and_points(channels, points):
    torch.manual_seed(channels)
    features = torch.randn(3, 4, points, dtype=torch.float64)
    values = torch.randn(3, channels, points, dtype=torch.float64)
    for method in ("lattice", "exact"):
        expected = values
        if points and channels:
            expected = filter_definition(features, values, method, "after")
        actual = filter_by(features, values, method, "after")
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dims", [9, 20, 32])
def test_keys_of_many_words(dims):
    torch.manual_seed(dims)
    features = torch.randn(2, dims, 12, dtype=torch.float64) * 50
    features[:, :, 6:] = features[:, :, :6] + 0.1 * torch.randn(2, dims, 6, dtype=torch.float64)
    values = torch.randn(2, 3, 12, dtype=torch.float64)
    expected = filter_definition(features, values, "lattice", "after")
    actual = filter_by(features, values, "lattice", "after")
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_images_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    features, values = torch.randn(5, 3, 40), torch.randn(5, 4, 40)
    together = filter_by(features, values, "lattice", "symmetric")
    for f, v, result in zip(features, values, together, strict=True):
        alone = filter_by(f[None], v[None], "lattice", "symmetric")[0]
        torch.testing.assert_close(result, alone, rtol=0, atol=1e-6)


def test_without_normalization_sums_have_the_scale_of_the_gaussian():
    torch.manual_seed(0)
    features = pyfast.spatial_features((40, 40), 3.0)
    values = torch.rand(1, 2, 1600)
    exact = filter_by(features, values, "exact", "none")
    lattice = filter_by(features, values, "lattice", "none")
    assert abs(lattice.sum() / exact.sum() - 1) < 0.02
    kernel = pyfast.GaussianFilter(features)
    assert abs(kernel.mass.sum() / pyfast.GaussianFilter(features, "exact").mass.sum() - 1) < 0.02
    assert kernel.num_vertices > 0


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_filter_that_was_used_without_gradients_has_them_later(mode, normalization):
    values = torch.rand(1, 2, 30)

    def gradients(used_before):
        features = torch.rand(1, 2, 30, generator=torch.Generator().manual_seed(0))
        kernel = pyfast.GaussianFilter(features.requires_grad_())
        if used_before:
            with mode():
                kernel.filter(values, normalization)
        inputs = values.clone().requires_grad_()
        kernel.filter(inputs, normalization).square().sum().backward()
        return features.grad, inputs.grad

    for used, fresh in zip(gradients(True), gradients(False), strict=True):
        assert used.equal(fresh)


@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_a_filter_of_inference_serves_training(normalization):
    kernel = pyfast.GaussianFilter(torch.rand(1, 2, 30))
    values = torch.rand(1, 2, 30, requires_grad=True)
    with torch.inference_mode():
        expected = kernel.filter(values, normalization)
    kernel.filter(values, normalization).sum().backward()
    assert kernel.filter(values, normalization).equal(expected)


@pytest.mark.parametrize("options", [{}, {"normalization": "none"}, {"method": "exact"}])
def test_autocast_changes_nothing(options):
    unary, image = torch.randn(1, 3, 6, 7), 255 * torch.rand(1, 3, 6, 7)
    costs = torch.rand(3, 3)
    kernels = [(pyfast.GaussianFilter(torch.rand(1, 2, 42)), 3.0)]
    flat = unary.bfloat16().float()

    def call(unary, costs):
        marginals = pyfast.dense_crf(unary, image, compatibility=costs, **options)
        others = pyfast.mean_field(unary.flatten(2), kernels, compatibility=costs)
        energy = pyfast.crf_free_energy(others, unary.flatten(2), kernels, compatibility=costs)
        return marginals, others, energy

    expected = call(flat, costs)
    for given in (flat, unary.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            found = call(given, costs)
        for each, other in zip(found, expected, strict=True):
            assert each.equal(other)


def test_a_cutoff_changes_little():
    torch.manual_seed(0)
    features, values = 3 * torch.randn(1, 5, 700), torch.rand(1, 3, 700)
    full = pyfast.GaussianFilter(features, "exact").filter(values, "after")
    cut = pyfast.GaussianFilter(features, "exact", cutoff=4.0).filter(values, "after")
    assert (full - cut).norm() < 2e-3 * full.norm()


@pytest.mark.parametrize("method", ["lattice", "closed", "exact"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_of_filters(method, normalization):
    torch.manual_seed(0)
    features = torch.randn(1, 3, 9, dtype=torch.float64)
    values = torch.randn(1, 2, 9, dtype=torch.float64).requires_grad_()
    kernel = pyfast.GaussianFilter(features, method)
    torch.autograd.gradcheck(lambda v: kernel.filter(v, normalization), (values,))
    torch.autograd.gradcheck(lambda v: kernel.transpose(v, normalization), (values,))
    if method != "exact" and normalization == "none":
        return  # the scale counts as a constant
    features.requires_grad_()
    torch.autograd.gradcheck(
        lambda f, v: filter_by(f, v, method, normalization), (features, values)
    )


NAMES = (
    "bilateral_sigma_xy",
    "bilateral_sigma_rgb",
    "bilateral_weight",
    "gaussian_sigma",
    "gaussian_weight",
)


def of_numbers(unary, image, numbers, compatibility=None, **options):
    """`dense_crf` with what is learnt as tensors: sigmas and weights in one."""
    learnt = dict(zip(NAMES, numbers.unbind(), strict=True))
    return pyfast.dense_crf(unary, image, compatibility=compatibility, **learnt, **options)


def crf_inputs(batch, size, labels=3):
    unary = 2 * torch.rand(batch, labels, size + 1, size, dtype=torch.float64)
    image = 20 * torch.rand(batch, 3, size + 1, size, dtype=torch.float64)
    return unary, image


OPTIONS = {
    "bilateral_sigma_xy": 6.3,
    "bilateral_sigma_rgb": 9.1,
    "bilateral_weight": 2.0,
    "gaussian_sigma": 1.2,
    "gaussian_weight": 1.5,
    "iterations": 3,
}


@pytest.mark.parametrize("method", ["lattice", "closed", "exact"])
@pytest.mark.parametrize("normalization", ["before", "after", "symmetric"])
@pytest.mark.parametrize("labels", [1, 2, 3, 9, 21])
def test_dense_crf_is_its_definition(method, normalization, labels):
    torch.manual_seed(labels)
    unary, image = crf_inputs(2, 6, labels)
    costs = torch.rand(labels, labels, dtype=torch.float64)
    for compatibility in (None, costs):
        options = {
            **OPTIONS,
            "compatibility": compatibility,
            "normalization": normalization,
            "method": method,
        }
        expected = definitions.dense_crf_reference(unary, image, **options)
        actual = pyfast.dense_crf(unary, image, **options)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)
        if compatibility is not None:
            options["compatibility"] = compatibility.float()
        low = pyfast.dense_crf(unary.float(), image.float(), **options)
        torch.testing.assert_close(low.double(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("method", ["lattice", "exact"])
def test_an_unknown_pixel_spoils_no_other(method):
    torch.manual_seed(0)
    unary, image = crf_inputs(1, 8)
    known = unary.clone()
    known[0, :, 2, 3] = 0
    expected = pyfast.dense_crf(known, image, **OPTIONS, method=method)
    for bad in (torch.nan, torch.inf):
        unary[0, :, 2, 3] = bad
        actual = pyfast.dense_crf(unary, image, **OPTIONS, method=method)
        torch.testing.assert_close(actual, expected)
    unary[0, :, 2, 3] = 1
    unary[0, 1, 2, 3] = torch.inf  # impossible
    marginals = pyfast.dense_crf(unary, image, **OPTIONS, method=method)
    assert marginals[0, 1, 2, 3] == 0
    assert marginals.isfinite().all()


def free_energy_falls(method):
    torch.manual_seed(0)
    unary, image = crf_inputs(1, 8)
    kernel = pyfast.GaussianFilter(pyfast.bilateral_features(image, 5.0, 9.0), method)
    kernels = [(kernel, 1.0)]
    flat = unary.flatten(2)
    return [
        pyfast.crf_free_energy(pyfast.mean_field(flat, kernels, iterations=n), flat, kernels)
        for n in (0, 1, 3)
    ]


@pytest.mark.parametrize("method", ["lattice", "exact"])
def test_mean_field_lowers_the_free_energy(method):
    start, one, three = free_energy_falls(method)
    assert start > one > three


def field_inputs(batch, size):
    unary = 2 * torch.rand(batch, 3, 2 * size, dtype=torch.float64)
    return unary, torch.randn(batch, 3, 2 * size, dtype=torch.float64)


def mean_field_of(unary, features):
    return pyfast.mean_field(unary, [(features, 1.5)], iterations=2)


def mean_field_definition(unary, features):
    def plain(values):
        return definitions.lattice_filter_reference(features, values)

    kernels = [(definitions.normalized(plain, unary, "symmetric"), 1.5)]
    return definitions.mean_field_reference(unary, kernels, None, 2)


STEPS = ("pyfast::dense_crf_steps", "pyfast::dense_crf_steps_backward", "pyfast::gaussian_lattice")


def learnt_inputs(batch, size):
    numbers = torch.tensor([6.3, 9.1, 2.0, 1.2, 1.5], dtype=torch.float64)
    return *crf_inputs(batch, size), numbers, torch.rand(3, 3, dtype=torch.float64)


def learnt_definition(unary, image, numbers, compatibility, **options):
    learnt = dict(zip(NAMES, numbers.unbind(), strict=True))
    return definitions.dense_crf_reference(
        unary, image, compatibility=compatibility, **learnt, **options
    )


def grid_of(values):
    sigma = torch.tensor(1.2, dtype=values.dtype)
    return torch.ops.pyfast.gaussian_grid(values, sigma, 3)


def grid_definition(values):
    features = definitions.spatial_features_reference(values.shape[2:], 1.2).to(values)
    features = features.expand(values.shape[0], -1, -1)

    def plain(x):
        return definitions.exact_filter_reference(features, x)

    flat = values.flatten(2)
    return definitions.normalized(plain, flat, "symmetric")(flat).view_as(values)


COMMON = {"op": "dense_crf", "second_order": False, "autocast": None, "small": 2, "large": 40}
CASES = [
    OpCase(
        **COMMON,
        name="inference",
        function=pyfast.dense_crf,
        reference=definitions.dense_crf_reference,
        inputs=crf_inputs,
        kwargs={**OPTIONS, "method": "lattice"},
        operators=("pyfast::dense_crf",),
        inductor=True,
        bad_calls=BAD_CALLS,
        tolerances={torch.float32: 2e-3, torch.float64: 1e-9},
    ),
    *(
        OpCase(
            **COMMON,
            name=f"{method}-{normalization}",
            function=of_numbers,
            reference=learnt_definition,
            inputs=learnt_inputs,
            kwargs={"method": method, "normalization": normalization, "iterations": 3},
            operators=EXACT if method == "exact" else STEPS,
            differentiable=(0, 1, 2, 3),
            inductor=True,
            tolerances={torch.float32: 1e-2, torch.float64: 1e-8},
        )
        for method, normalization in (
            ("lattice", "symmetric"),
            ("lattice", "before"),
            ("closed", "after"),
            ("exact", "symmetric"),
        )
    ),
    OpCase(
        op="gaussian_grid",
        name="symmetric",
        function=grid_of,
        reference=grid_definition,
        inputs=lambda batch, size: (torch.randn(batch, 3, size, size + 1, dtype=torch.float64),),
        operators=("pyfast::gaussian_grid",),
        autocast=None,
        tolerances={torch.float32: 2e-3},
    ),
    *(
        OpCase(
            op="GaussianFilter",
            name=method,
            function=lambda features, values, method=method: filter_by(
                features, values, method, "symmetric"
            ),
            reference=lambda features, values, method=method: filter_definition(
                features, values, method, "symmetric"
            ),
            inputs=lambda batch, size: field_inputs(batch, size)[::-1],
            operators=LATTICE if method == "lattice" else EXACT,
            differentiable=(0, 1),
            second_order=False,
            autocast=None,
            tolerances={torch.float32: 2e-4, torch.float64: 1e-10},
        )
        for method in ("lattice", "exact")
    ),
]


# A lattice has a size that depends on data, and its definition counts vertices: neither goes
# through every transform. Backward operators have no derivative, see the test below.
COUNTS_VERTICES = ("opcheck", "fake", "vmap(grad)")
LEFT_OUT = {
    "exact": ("opcheck",),
    "exact-symmetric": ("opcheck",),
    "symmetric": ("vmap",),
    **dict.fromkeys(
        ("lattice", "lattice-symmetric", "lattice-before", "closed-after"), COUNTS_VERTICES
    ),
}


@pytest.mark.parametrize(
    ("case", "promise", "device"), list(checks(CASES)), ids=lambda x: str(x).replace(" ", "-")
)
def test_filters_keep_their_promises(case, promise, device):
    if promise not in LEFT_OUT.get(case.name, ()):
        check_op(case, only=(promise,), device=device)


def test_opcheck_of_filters():
    torch.manual_seed(0)
    features, values = torch.randn(2, 3, 9), torch.randn(2, 4, 9)
    words, *sizes = build_lattice(features, False)
    ops, check = torch.ops.pyfast, torch.library.opcheck
    check(ops.gaussian_lattice.default, (features, False))
    check(ops.gaussian_filter_backward.default, (values, values, features, words, *sizes))
    check(ops.gaussian_exact_backward.default, (values, values, features, 0.0))
    features.requires_grad_()
    values.requires_grad_()
    check(ops.gaussian_filter.default, (values, features, words, *sizes, False))
    check(ops.gaussian_exact.default, (values, features, 0.0))


def test_opcheck_of_dense_crf():
    unary, image = crf_inputs(2, 4)
    numbers = torch.tensor([[6.3, 9.1, 1.2]]).double(), torch.tensor([[2.0, 1.5]]).double()
    costs = torch.rand(1, 3, 3).double()
    for method in (0, 1):
        arguments = unary, image, *numbers, costs, 2, 3, method
        torch.library.opcheck(torch.ops.pyfast.dense_crf.default, arguments)
    none = torch.empty(0, dtype=torch.int32)
    *tensors, iterations, normalization, method = arguments
    steps = torch.ops.pyfast.dense_crf_steps(*tensors, none, iterations, normalization, method)
    saved = unary, *tensors, none, *steps, normalization, method, True, True, True
    torch.library.opcheck(torch.ops.pyfast.dense_crf_steps_backward.default, saved)
    leaves = [t.detach().requires_grad_() for t in tensors]
    options = none, iterations, normalization, method
    torch.library.opcheck(torch.ops.pyfast.dense_crf_steps.default, (*leaves, *options))
    torch.library.opcheck(torch.ops.pyfast.gaussian_grid.default, (unary, numbers[0][0, 2], 3))


@pytest.mark.parametrize("mapped", [(0, 0, 0, 0), (0, None, None, None), (None, None, 0, 0)])
def test_gradients_sample_by_sample(mapped):
    samples = []
    for seed in range(3):
        torch.manual_seed(seed)
        samples.append(learnt_inputs(2, 3))
    points = [
        torch.stack(parts) if dim == 0 else parts[0]
        for parts, dim in zip(zip(*samples, strict=True), mapped, strict=True)
    ]

    def loss(*arguments):
        return of_numbers(*arguments, iterations=2).sin().sum()

    gradient = torch.func.grad(loss, (0, 1, 2, 3))
    together = torch.func.vmap(gradient, mapped)(*points)
    for k in range(3):
        one = [p[k] if dim == 0 else p for p, dim in zip(points, mapped, strict=True)]
        for all_of_them, alone in zip(together, gradient(*one), strict=True):
            torch.testing.assert_close(all_of_them[k], alone, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("sigma", [2.8, 3.0, 7.5, 60.0, 1e9])
@pytest.mark.parametrize("labels", [3, 40])
def test_a_wide_gaussian_by_fewer_places(sigma, labels):
    torch.manual_seed(0)
    unary = torch.randn(2, labels, 33, 140)
    image = torch.zeros(2, 1, 33, 140)
    for normalization in ("before", "after", "symmetric"):
        options = {"bilateral_weight": 0.0, "gaussian_sigma": sigma, "iterations": 2}
        options["normalization"] = normalization
        expected = pyfast.dense_crf(unary.double(), image.double(), **options)
        actual = pyfast.dense_crf(unary, image, **options)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4)


def test_a_lattice_gradient_points_where_that_of_the_definition_does():
    torch.manual_seed(0)
    low = torch.nn.functional.interpolate(255 * torch.rand(1, 3, 6, 6), (24, 24), mode="bilinear")
    image = (low + 2 * torch.randn_like(low)).double().requires_grad_()
    unary = 2 * torch.rand(1, 4, 24, 24, dtype=torch.float64)
    sigma = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    gradients = {}
    for method in ("lattice", "closed", "exact"):
        options = {"bilateral_sigma_xy": 30.0, "bilateral_sigma_rgb": sigma, "iterations": 3}
        marginals = pyfast.dense_crf(unary, image, method=method, **options)
        gradients[method] = torch.autograd.grad((marginals * unary).sum(), (image, sigma))
    image_exact, sigma_exact = gradients["exact"]
    for method, least in (("lattice", 0.75), ("closed", 0.9)):
        image_of, sigma_of = gradients[method]
        assert torch.cosine_similarity(image_of.flatten(), image_exact.flatten(), 0) > least
        assert abs(sigma_of / sigma_exact - 1) < 0.35


@pytest.mark.parametrize("bad", BAD_CALLS, ids=lambda bad: bad.what.replace(" ", "-"))
def test_bad_calls_say_what_is_wrong(bad):
    with pytest.raises(bad.error, match=bad.match):
        bad.call()


def test_the_largest_costs_leave_no_nan():
    unary, image = torch.rand(1, 3, 6, 7), 255 * torch.rand(1, 3, 6, 7)
    for sign in (1, -1):
        costs = sign * 2e29 * torch.eye(3)
        for normalization in NORMALIZATIONS:
            marginals = pyfast.dense_crf(
                unary, image, compatibility=costs, normalization=normalization
            )
            torch.testing.assert_close(marginals.sum(1), torch.ones(1, 6, 7))


@pytest.mark.parametrize("learns", [False, True])
def test_tensors_without_values_have_shapes(learns):
    unary = torch.rand(2, 3, 6, 7, device="meta", requires_grad=learns)
    image = torch.rand(2, 3, 6, 7, device="meta")
    weight = torch.tensor(2.0, device="meta", requires_grad=learns)
    marginals = pyfast.dense_crf(unary, image, bilateral_weight=weight)
    assert marginals.is_meta
    assert marginals.shape == unary.shape
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.rand(2, 3, 6, 7))
        assert pyfast.dense_crf(fake, fake).shape == fake.shape


def test_channels_last_stays():
    unary = torch.rand(2, 3, 6, 7)
    image = 255 * torch.rand(2, 3, 6, 7)
    last = unary.contiguous(memory_format=torch.channels_last)
    marginals = pyfast.dense_crf(last, image)
    assert marginals.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(marginals, pyfast.dense_crf(unary, image))
    assert pyfast.dense_crf(unary, image).is_contiguous()


@pytest.mark.parametrize("normalization", ["before", "after", "symmetric"])
@pytest.mark.parametrize("weight", [3.0, torch.tensor(3.0)])
def test_mean_field_is_the_same_with_and_without_a_gradient(normalization, weight):
    """Without one, float32 goes through the kernels of `dense_crf` in one call."""
    torch.manual_seed(0)
    features = 3 * torch.rand(2, 3, 200)
    kernels = [(pyfast.GaussianFilter(features), weight), (features[:, :2], 1.5)]
    unary, compatibility = 2 * torch.rand(2, 4, 200), torch.rand(4, 4)
    unary[:, :, 7] = math.inf
    options = {"compatibility": compatibility, "normalization": normalization}
    alone = pyfast.mean_field(unary, kernels, **options)
    followed = pyfast.mean_field(unary.requires_grad_(), kernels, **options)
    torch.testing.assert_close(alone, followed.detach(), atol=2e-3, rtol=0)
    assert not alone.isnan().any()


@pytest.mark.parametrize("labels", [2, 3])
def test_threads_share_the_points_of_mean_field(labels):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    kernels = [(pyfast.GaussianFilter(9 * torch.rand(2, 3, 9001)), 1.5)]
    unary = 2 * torch.rand(2, labels, 9001)
    expected = pyfast.mean_field(unary.clone().requires_grad_(), kernels, iterations=3).detach()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(pyfast.mean_field(unary, kernels, iterations=3))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found[0], expected, atol=2e-3, rtol=0)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dims", [5, 16, 24, 32])
@pytest.mark.parametrize("normalization", ["before", "after", "symmetric"])
def test_lonely_points_keep_their_messages_beside_a_crowd(dims, normalization):
    """Half precision, where float32 keeps messages in it, has no room for both unscaled."""
    torch.manual_seed(0)
    features = 0.02 * torch.randn(1, dims, 3000)
    features[:, :, :100] *= 150
    unary = 0.1 * torch.randn(1, 4, 3000)
    options = {"iterations": 3, "normalization": normalization}
    found = pyfast.mean_field(unary, [(features, 3.0)], **options)
    exact = pyfast.mean_field(unary.double(), [(features.double(), 3.0)], **options)
    torch.testing.assert_close(found.double(), exact, atol=2e-3, rtol=0)


def test_the_free_energy_of_impossible_labels_and_unknown_points_is_a_number():
    torch.manual_seed(0)
    unary, features = torch.rand(1, 3, 20), torch.rand(1, 2, 20)
    unary[:, 1, 4] = math.inf
    unary[:, :, 9] = math.nan
    kernels = [(features, 2.0)]
    marginals = pyfast.mean_field(unary, kernels)
    found = pyfast.crf_free_energy(marginals, unary, kernels)
    unary[:, 1, 4] = unary[:, :, 9] = 0
    torch.testing.assert_close(found, pyfast.crf_free_energy(marginals, unary, kernels))


def test_numbers_may_be_symbols_of_the_compiler():
    compiled = torch.compile(pyfast.dense_crf, fullgraph=True, dynamic=True, backend="aot_eager")
    for height in (5, 6):
        unary, image = torch.rand(1, 3, height, 7), 255 * torch.rand(1, 3, height, 7)
        for weight, normalization in ((2.0, "symmetric"), (2.5, "symmetric"), (2.5, "none")):
            options = {"bilateral_weight": weight, "normalization": normalization, "iterations": 2}
            found = compiled(unary, image, **options)
            assert torch.equal(found, pyfast.dense_crf(unary, image, **options))


def filtered_anew(values, features):
    return pyfast.GaussianFilter(features).filter(values)


def test_one_trace_of_a_lattice_serves_all_sizes():
    traces = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(filtered_anew, fullgraph=True, dynamic=True, backend=traces)
    for points in (20, 40, 255, 256, 257, 700):
        values, features = torch.rand(1, 3, points), 4 * torch.rand(1, 2, points)
        assert torch.equal(compiled(values, features), filtered_anew(values, features))
    assert traces.frame_count == 1


def test_an_exported_lattice_takes_all_sizes(tmp_path):
    class Filter(torch.nn.Module):
        forward = staticmethod(filtered_anew)

    points = torch.export.Dim("points", min=2, max=1000)
    inputs = torch.rand(1, 3, 20), torch.rand(1, 2, 20)
    program = torch.export.export(Filter(), inputs, dynamic_shapes=[{2: points}] * 2)
    torch.export.save(program, tmp_path / "filter.pt2")
    loaded = torch.export.load(tmp_path / "filter.pt2").module()
    for count in (2, 40, 257, 1000):
        values, features = torch.rand(1, 3, count), 4 * torch.rand(1, 2, count)
        assert torch.equal(loaded(values, features), filtered_anew(values, features))


@pytest.mark.parametrize("points", [1, 7, 256, 257, 700])
def test_scale_is_the_ratio_of_sums_over_evenly_spread_points(points):
    features = 3 * torch.rand(2, 2, points, dtype=torch.float64)
    kernel, ones = pyfast.GaussianFilter(features), torch.ones(2, 1, points, dtype=torch.float64)
    chosen = slice(None, None, math.ceil(points / 256))
    exact = definitions.exact_filter_reference(features, ones)[:, 0, chosen].sum(1)
    lattice = kernel.filter(ones)[:, 0, chosen].sum(1)
    torch.testing.assert_close(lattice, exact)
