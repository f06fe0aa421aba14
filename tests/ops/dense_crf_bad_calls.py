"""Wrong calls of the dense CRF, and what they have to say."""

import torch

import pyfast
from pyfast.testing import BadCall

UNARY = torch.rand(2, 3, 4, 5)
IMAGE = 255 * torch.rand(2, 3, 4, 5)
FEATURES = torch.rand(2, 3, 20)


def crf(unary=UNARY, image=IMAGE, **options):
    return lambda: pyfast.dense_crf(unary, image, **options)


def spoilt(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[0] = value
    return tensor


def of_crf():
    shape = r"dense_crf: expected image of shape \(2, C, 4, 5\) to go with unary \(2, 3, 4, 5\)"
    for name in ("bilateral_sigma_xy", "bilateral_sigma_rgb", "gaussian_sigma"):
        for value in (0.0, -1.0, float("nan"), float("inf")):
            match = f"dense_crf: expected {name} to be positive and finite, got {value}"
            yield BadCall(f"{name} of {value}", crf(**{name: value}), ValueError, match)
        for value, size in ((1e-300, "small"), (1e300, "large")):
            match = f"dense_crf: expected {name} not to be too {size} for torch.float32"
            yield BadCall(f"{name} of {value}", crf(**{name: value}), ValueError, match)
    match = "dense_crf: expected bilateral_weight not to be too large for torch.float32"
    yield BadCall("weight of 1e300", crf(bilateral_weight=1e300), ValueError, match)
    for name in ("bilateral_weight", "gaussian_weight"):
        match = f"dense_crf: expected {name} to be finite, got nan"
        yield BadCall(f"{name} of NaN", crf(**{name: float("nan")}), ValueError, match)
        match = f"dense_crf: expected {name} to be a number, got '1'"
        yield BadCall(f"{name} of text", crf(**{name: "1"}), TypeError, match)
    tiny = r"expected features within 2\*\*28 lattice cells"
    yield BadCall("tiny sigma", crf(bilateral_sigma_rgb=1e-8), ValueError, tiny)
    finite = "dense_crf: expected a finite image, got 1 NaN or infinite values"
    for value in (torch.nan, torch.inf):
        for options in ({}, {"method": "exact"}, {"normalization": "none"}):
            call = crf(image=spoilt(IMAGE, value), **options)
            yield BadCall(f"image with {value}, {options}", call, ValueError, finite)
    cost = "dense_crf: expected compatibility up to 1e"
    yield BadCall("costs of 1e38", crf(compatibility=1e38 * torch.eye(3)), ValueError, cost)
    product = r"dense_crf: expected bilateral_weight times a compatibility of 1e\+20 up to 1e"
    options = {"compatibility": 1e20 * torch.eye(3), "bilateral_weight": 1e20}
    yield BadCall("costs of 1e40", crf(**options), ValueError, product)
    weight = "dense_crf: expected gaussian_weight up to 1e"
    yield BadCall("weight of 1e38", crf(gaussian_weight=1e38), ValueError, weight)
    yield BadCall("size of the image", crf(image=IMAGE[..., :4]), ValueError, shape)
    yield BadCall("batch of the image", crf(image=IMAGE[:1]), ValueError, shape)
    yield BadCall(
        "grey image without channels", crf(image=IMAGE[:, 0]), ValueError, "expected image of shape"
    )
    yield BadCall("integers", crf(image=IMAGE.int()), TypeError, "expected image of uint8 or of")
    yield BadCall("no labels", crf(UNARY[:, :0]), ValueError, "unary of shape .* L at least 1")
    yield BadCall("no batch", crf(UNARY[0]), ValueError, r"unary of shape \(B, L, H, W\)")
    yield BadCall("half unary", crf(UNARY.half()), TypeError, "unary of float32 or float64")
    yield BadCall("an array", crf(UNARY.numpy()), TypeError, "unary to be a torch.Tensor")
    wrong = torch.rand(2, 3)
    yield BadCall(
        "compatibility of another shape",
        crf(compatibility=wrong),
        ValueError,
        r"dense_crf: expected compatibility of shape \(3, 3\), got \(2, 3\)",
    )
    yield BadCall(
        "compatibility of NaN",
        crf(compatibility=torch.full((3, 3), torch.nan)),
        ValueError,
        "dense_crf: expected a finite compatibility",
    )
    yield BadCall(
        "negative iterations",
        crf(iterations=-1),
        ValueError,
        "dense_crf: expected iterations not to be negative, got -1",
    )
    match = "dense_crf: expected iterations below 2"
    yield BadCall("iterations of 2 ** 63", crf(iterations=2**63), ValueError, match)
    kept = UNARY.clone().requires_grad_()
    match = "dense_crf: there is no memory for a result of this size"
    yield BadCall("iterations to keep", crf(kept, iterations=2**50), RuntimeError, match)
    match = "dense_crf: expected gaussian_weight to be finite"
    yield BadCall("weight of 10 ** 400", crf(gaussian_weight=10**400), ValueError, match)
    nowhere = torch.tensor(1.0, device="meta")
    match = "dense_crf: expected gaussian_sigma to have a value, got a tensor on meta"
    yield BadCall("sigma on meta", crf(gaussian_sigma=nowhere), ValueError, match)
    yield BadCall(
        "meta, not normalised",
        crf(UNARY.to("meta"), IMAGE.to("meta"), normalization="none"),
        ValueError,
        "expected features with values, got a tensor on meta",
    )
    yield BadCall(
        "half an iteration", crf(iterations=0.5), TypeError, "iterations to be an integer, got 0.5"
    )
    yield BadCall(
        "unknown normalization",
        crf(normalization="symetric"),
        ValueError,
        "did you mean 'symmetric'",
    )
    yield BadCall("unknown method", crf(method="fast"), ValueError, "lattice, closed, exact")
    huge = torch.empty(1, 1, 1, 1).expand(1, 1, 30000, 30000)
    yield BadCall(
        "30000 x 30000",
        crf(huge, huge.expand(1, 3, 30000, 30000)),
        ValueError,
        "dense_crf: expected at most 357913930 points of 5 features, got 900000000",
    )


def of_filters():
    def made(features=FEATURES, *args, **options):
        return lambda: pyfast.GaussianFilter(features, *args, **options)

    kernel = pyfast.GaussianFilter(FEATURES)
    name = "GaussianFilter"
    yield BadCall("no features", made(FEATURES[:, :0]), ValueError, f"{name}: expected features of")
    yield BadCall("33 features", made(torch.rand(1, 33, 4)), ValueError, "d from 1 to 32")
    yield BadCall("flat features", made(FEATURES[0]), ValueError, f"{name}: expected features of")
    yield BadCall("integers", made(FEATURES.int()), TypeError, "features of float32 or float64")
    for method in ("lattice", "exact"):
        call = made(spoilt(FEATURES, torch.nan), method)
        yield BadCall(
            f"NaN, {method}", call, ValueError, f"{name}: expected finite features, got 1"
        )
    meta = made(FEATURES.to("meta"))
    yield BadCall("meta", meta, ValueError, f"{name}: expected features with values")
    yield BadCall("far", made(FEATURES * 1e12), ValueError, "is a sigma too small")
    yield BadCall("method", made(FEATURES, "latice"), ValueError, "did you mean 'lattice'")
    yield BadCall("cutoff of a lattice", made(cutoff=4.0), ValueError, "cutoff with method")
    yield BadCall("cutoff", made(FEATURES, "exact", cutoff=0), ValueError, "cutoff to be positive")
    yield BadCall(
        "values of another size",
        lambda: kernel.filter(torch.rand(2, 4, 19)),
        ValueError,
        r"GaussianFilter.filter: expected values of shape \(2, C, 20\), got \(2, 4, 19\)",
    )
    yield BadCall(
        "values of another dtype",
        lambda: kernel.transpose(torch.rand(2, 4, 20).double()),
        TypeError,
        "GaussianFilter.transpose: expected values of the dtype of features",
    )
    yield BadCall(
        "normalization",
        lambda: kernel.filter(torch.rand(2, 4, 20), "both"),
        ValueError,
        "normalization to be one of none, before, after, symmetric",
    )


def of_the_rest():
    flat = UNARY.flatten(2)
    kernel = pyfast.GaussianFilter(FEATURES)
    yield BadCall(
        "kernels of another size",
        lambda: pyfast.mean_field(flat[..., :7], [(kernel, 1.0)]),
        ValueError,
        r"mean_field: expected kernels\[0\]\[0\] of shape \(2, d, 7\)",
    )
    yield BadCall(
        "a kernel without a weight",
        lambda: pyfast.mean_field(flat, [kernel]),
        TypeError,
        r"mean_field: expected kernels\[0\] to be \(GaussianFilter or features, weight\)",
    )
    yield BadCall(
        "kernels that are none",
        lambda: pyfast.mean_field(flat, 3),
        TypeError,
        "mean_field: expected kernels to be a sequence of pairs",
    )
    yield BadCall(
        "weight on meta",
        lambda: pyfast.mean_field(flat, [(kernel, torch.tensor(1.0, device="meta"))]),
        ValueError,
        r"mean_field: expected kernels\[0\]\[1\] to have a value",
    )
    yield BadCall(
        "unary without labels",
        lambda: pyfast.mean_field(flat[:, :0], [(kernel, 1.0)]),
        ValueError,
        "mean_field: expected unary of shape",
    )
    yield BadCall(
        "marginals of another shape",
        lambda: pyfast.crf_free_energy(flat[:, :2], flat, [(kernel, 1.0)]),
        ValueError,
        r"crf_free_energy: expected marginals of shape \(2, 3, 20\)",
    )
    yield BadCall(
        "sigma of zero",
        lambda: pyfast.spatial_features((3, 4), 0),
        ValueError,
        "spatial_features: expected sigma to be positive and finite",
    )
    yield BadCall(
        "sigma too small for positions",
        lambda: pyfast.spatial_features((3, 4), 1e-300),
        ValueError,
        "spatial_features: expected sigma not to be too small for torch.float32",
    )
    yield BadCall(
        "sigma too small for colours",
        lambda: pyfast.bilateral_features(IMAGE, 1.0, 1e-300),
        ValueError,
        "bilateral_features: expected sigma_rgb not to be too small for torch.float32",
    )
    yield BadCall(
        "no size",
        lambda: pyfast.spatial_features((), 1.0),
        ValueError,
        "spatial_features: expected positive sizes",
    )
    yield BadCall(
        "flat image",
        lambda: pyfast.bilateral_features(IMAGE[0], 1.0, 1.0),
        ValueError,
        r"bilateral_features: expected image of shape \(B, C, H, W\)",
    )
    yield BadCall(
        "sigma of NaN",
        lambda: pyfast.bilateral_features(IMAGE, 1.0, float("nan")),
        ValueError,
        "bilateral_features: expected sigma_rgb to be positive and finite",
    )


BAD_CALLS = (*of_crf(), *of_filters(), *of_the_rest())
