"""Compositing: its promises, and pictures of every kind."""

import numpy as np
import promises
import pytest
import torch
from PIL import Image

import pyfast
from pyfast.testing import BadCall, OpCase, checks

FRONT, ALPHA, BACK = torch.rand(2, 3, 4, 5), torch.rand(2, 4, 5), torch.rand(2, 3, 4, 5)
composite = pyfast.composite

BAD_CALLS = tuple(
    BadCall(what, call, error, f"^composite: expected {match}")
    for what, call, error, match in (
        ("a list", lambda: composite([0.0], ALPHA, BACK), TypeError, "foreground to be a torch."),
        ("a word", lambda: composite(FRONT, ALPHA, "sky"), TypeError, "background to be a torch."),
        (
            "another size",
            lambda: composite(FRONT, ALPHA, BACK[..., :3]),
            ValueError,
            "background of the size of foreground, 4 x 5, got 4 x 3",
        ),
        (
            "alpha of another size",
            lambda: composite(FRONT, ALPHA[:, :2], BACK),
            ValueError,
            r"alpha of shape \(2, 4, 5\), got \(2, 2, 5\)",
        ),
        (
            "a colour of bytes",
            lambda: composite(FRONT, ALPHA, (255, 0, 0)),
            ValueError,
            r"background to be a picture, a number in \[0, 1\] or three of them, got \(255",
        ),
        (
            "two numbers",
            lambda: composite(FRONT, ALPHA, (0.5, 0.5)),
            ValueError,
            "background to be a picture",
        ),
        ("NaN", lambda: composite(FRONT / 0, ALPHA, BACK), ValueError, "foreground of finite"),
        ("bytes as floats", lambda: composite(FRONT, ALPHA * 99, BACK), ValueError, "alpha of fl"),
    )
)


def inputs(batch, size):
    shape = batch, 3, size + 1, size
    front, back = (torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1 for _ in range(2))
    return front, torch.rand(batch, 1, *shape[2:], dtype=torch.float64) * 0.8 + 0.1, back


CASES = [
    OpCase(
        op="composite",
        name="layers",
        function=composite,
        reference=lambda front, alpha, back: alpha * front + (1 - alpha) * back,
        inputs=inputs,
        differentiable=(0, 1, 2),
        autocast=None,
        empty_batch=False,
        native=False,
        inductor=True,
        bad_calls=BAD_CALLS,
    )
]


@promises.every(checks(CASES))
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


def test_pictures_of_every_kind_agree():
    generator = np.random.default_rng(0)
    front, back = generator.integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    alpha = generator.integers(0, 256, (6, 7), dtype=np.uint8)
    array = composite(front, alpha, back)
    expected = (alpha[..., None] / 255.0) * front + (1 - alpha[..., None] / 255.0) * back
    assert array.dtype == np.uint8
    np.testing.assert_allclose(array, expected, atol=0.51)
    picture = composite(*map(Image.fromarray, (front, alpha, back)))
    np.testing.assert_array_equal(np.asarray(picture), array)
    tensor = composite(
        torch.from_numpy(front).permute(2, 0, 1), torch.from_numpy(alpha), Image.fromarray(back)
    )
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)


def test_a_colour_is_a_background():
    front, alpha = np.zeros((2, 2, 3)), np.full((2, 2), 0.25)
    np.testing.assert_allclose(composite(front, alpha, (1.0, 0.5, 0)), [[[0.75, 0.375, 0]] * 2] * 2)
    np.testing.assert_allclose(composite(front, alpha, 1), 0.75)
    grey = composite(front[..., 0], alpha, (1.0, 0.5, 0))
    assert grey.shape == (2, 2, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F"])
def test_modes_of_pillow(mode):
    grey = Image.fromarray(np.array([[0, 64], [128, 255]], dtype=np.uint8))
    if mode in ("I;16", "I"):
        picture = Image.fromarray(np.array([[0, 16448], [32896, 65535]], dtype=np.uint16))
        picture = picture.convert(mode)
    elif mode == "F":
        picture = Image.fromarray(np.array([[0, 64], [128, 255]], dtype=np.float32) / 255)
    else:
        picture = grey.convert(mode)
    # A fully opaque layer, of modes with three channels at the most, is itself.
    if mode in ("RGBA", "LA"):
        with pytest.raises(ValueError, match="expected foreground of shape"):
            composite(picture, torch.ones(2, 2), 0.0)
        return
    found = np.asarray(composite(picture, torch.ones(2, 2), 0.0))
    wanted = np.asarray(grey.convert("1") if mode == "1" else grey)
    np.testing.assert_array_equal(
        found if found.ndim == 2 else found[..., 0],
        wanted * np.uint8(255) if mode == "1" else wanted,
    )
