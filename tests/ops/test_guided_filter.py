"""The guided filter: its promises, OpenCV's results, pictures of every kind."""

import itertools

import numpy as np
import promises
import pytest
import torch
from PIL import Image

import pyfast
from pyfast.ops.guided_filter import guided_filter_reference
from pyfast.testing import BadCall, OpCase, checks

GUIDE, INPUT = torch.rand(2, 3, 6, 7), torch.rand(2, 1, 6, 7)

BAD_CALLS = tuple(
    BadCall(what, call, error, f"^guided_filter: expected {match}")
    for what, call, error, match in (
        ("a list", lambda: pyfast.guided_filter([[0.0]], INPUT), TypeError, "guide to be a torch"),
        (
            "None",
            lambda: pyfast.guided_filter(GUIDE, None),
            TypeError,
            "input to be a torch.Tensor",
        ),
        (
            "another size",
            lambda: pyfast.guided_filter(GUIDE, INPUT[..., :5]),
            ValueError,
            r"guide of the batch and size of input, \(2, 1, 6, 5\), got \(2, 3, 6, 7\)",
        ),
        (
            "another batch",
            lambda: pyfast.guided_filter(GUIDE[:1], INPUT),
            ValueError,
            "guide of the batch and size of input",
        ),
        (
            "five channels",
            lambda: pyfast.guided_filter(torch.rand(1, 5, 6, 7), INPUT[:1]),
            ValueError,
            "guide of shape",
        ),
        ("rank 5", lambda: pyfast.guided_filter(GUIDE, INPUT[None]), ValueError, "input of shape"),
        ("no pixel", lambda: pyfast.guided_filter(GUIDE, INPUT[..., :0]), ValueError, "input of"),
        (
            "integers",
            lambda: pyfast.guided_filter(GUIDE, INPUT.long()),
            TypeError,
            "input of floats, uint8, uint16 or bool, got torch.int64",
        ),
        (
            "a sparse input",
            lambda: pyfast.guided_filter(GUIDE, INPUT.to_sparse()),
            TypeError,
            "input to be a dense",
        ),
        (
            "two devices",
            lambda: pyfast.guided_filter(GUIDE.to("meta"), INPUT),
            ValueError,
            "guide on the device of input, cpu, got meta",
        ),
        (
            "half a pixel",
            lambda: pyfast.guided_filter(GUIDE, INPUT, radius=1.5),
            TypeError,
            "radius to be an integer, got 1.5",
        ),
        (
            "a negative radius",
            lambda: pyfast.guided_filter(GUIDE, INPUT, radius=-1),
            ValueError,
            "radius to be at least 0, got -1",
        ),
        (
            "no epsilon",
            lambda: pyfast.guided_filter(GUIDE, INPUT, epsilon=0),
            ValueError,
            "epsilon to be above 0, got 0",
        ),
        (
            "an epsilon that is no number",
            lambda: pyfast.guided_filter(GUIDE, INPUT, epsilon=float("nan")),
            ValueError,
            "epsilon to be above 0, got nan",
        ),
        (
            "a guide that is no number",
            lambda: pyfast.guided_filter(GUIDE.clone().fill_(float("nan")), INPUT),
            ValueError,
            "guide to be finite",
        ),
        (
            "an infinite input",
            lambda: pyfast.guided_filter(GUIDE, INPUT / 0),
            ValueError,
            "input to be finite",
        ),
    )
)


def cases():
    for guides, channels, radius in ((3, 1, 2), (1, 2, 1), (2, 1, 1), (4, 3, 3)):

        def inputs(batch, size, guides=guides, channels=channels):
            shape = size + 1, size
            return (
                torch.rand(batch, guides, *shape, dtype=torch.float64),
                torch.randn(batch, channels, *shape, dtype=torch.float64),
            )

        yield OpCase(
            op="guided_filter",
            name=f"{guides}-channels-radius-{radius}",
            function=pyfast.guided_filter,
            reference=guided_filter_reference,
            inputs=inputs,
            kwargs={"radius": radius, "epsilon": 0.01},
            operators=("pyfast::guided_filter",),
            differentiable=(0, 1),
            autocast=None,
            keeps_channels_last=(1,),
            empty_batch=False,
            inductor=guides == 1,
            large=150,
            bad_calls=BAD_CALLS if guides == 3 else (),
        )


CASES = list(cases())
# Of the first case alone; inductor, which takes a minute, is another's.
ONCE = {"opcheck", "compile", "export", "capabilities", "vmap(grad)", "gradgradcheck"}


def is_slow(case, promise):
    return promise in ONCE and case is not CASES[0]


@promises.every(checks(CASES), is_slow)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


@pytest.mark.parametrize(
    ("size", "radius"),
    [*itertools.product([(1, 1), (1, 9), (9, 1), (5, 64), (70, 33)], [0, 1, 4, 99])],
)
def test_windows_larger_than_the_picture_and_thin_pictures(size, radius):
    guide, input = torch.rand(1, 3, *size, dtype=torch.float64), torch.rand(1, 1, *size).double()
    expected = guided_filter_reference(guide, input, radius, 1e-3)
    torch.testing.assert_close(
        pyfast.guided_filter(guide, input, radius, 1e-3), expected, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize(("channels", "radius"), [*itertools.product((1, 3), (2, 7))])
def test_equals_opencv(channels, radius):
    """OpenCV mirrors the picture at its edges, where we clip the window."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "ximgproc"):
        pytest.skip("this OpenCV has no contrib modules")
    generator = np.random.default_rng(0)
    guide = generator.random((40, 50, channels), dtype=np.float32)
    input = generator.random((40, 50), dtype=np.float32)
    expected = cv2.ximgproc.guidedFilter(guide, input, radius, 1e-2)
    border = 2 * radius
    padded = [
        np.pad(x, [(border, border)] * 2 + [(0, 0)] * (x.ndim - 2), mode="symmetric")
        for x in (guide, input)
    ]
    found = pyfast.guided_filter(*padded, radius, 1e-2)[border:-border, border:-border]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_is_the_window_fit_of_a_flat_guide():
    """A flat guide: the mean of means. An input that is affine in the guide: exact."""
    input = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    flat = pyfast.guided_filter(torch.ones_like(input), input, 1, 1e-4)
    count = torch.nn.functional.avg_pool2d(torch.ones_like(input), 3, 1, 1)
    mean = input
    for _ in range(2):
        mean = torch.nn.functional.avg_pool2d(mean, 3, 1, 1) / count
    torch.testing.assert_close(flat, mean, atol=1e-9, rtol=0)
    guide = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    affine = (guide * torch.tensor([0.3, -0.5, 0.9])[:, None, None]).sum(1, keepdim=True) + 0.1
    found = pyfast.guided_filter(guide, affine, 3, 1e-12)
    torch.testing.assert_close(found, affine, atol=1e-8, rtol=0)


@pytest.mark.parametrize("epsilon", [1e-16, 1e-20, 1e-300])
@pytest.mark.parametrize("scale", [1e-3, 1, 255])
def test_an_epsilon_below_rounding_gives_numbers(epsilon, scale):
    """Three equal channels leave nothing but it of the matrix in two directions."""
    grey = scale * torch.rand(1, 1, 33, 40, dtype=torch.float64)
    input = torch.rand(1, 1, 33, 40, dtype=torch.float64)
    found = pyfast.guided_filter(grey.expand(-1, 3, -1, -1), input, 4, epsilon)
    assert (found - pyfast.guided_filter(grey, input, 4, 1e-12 * scale**2)).abs().max() < 1e-6
    flat = pyfast.guided_filter(torch.full_like(grey, 0.1 * scale), input, 4, epsilon)
    assert (flat - pyfast.guided_filter(torch.ones_like(grey), input, 4, 1.0)).abs().max() < 1e-2


def test_pictures_of_every_kind_agree():
    guide = np.random.default_rng(1).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    mask = np.random.default_rng(2).integers(0, 256, (12, 14), dtype=np.uint8)
    array = pyfast.guided_filter(guide, mask, 2)
    assert (array.dtype, array.shape) == (np.uint8, mask.shape)
    picture = pyfast.guided_filter(Image.fromarray(guide), Image.fromarray(mask), 2)
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), array)
    tensor = pyfast.guided_filter(
        torch.from_numpy(guide).permute(2, 0, 1), torch.from_numpy(mask), 2
    )
    np.testing.assert_array_equal(tensor.numpy(), array)
    wide = pyfast.guided_filter(guide / 255, mask / 255, 2)
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide * 255, array, atol=0.51)
