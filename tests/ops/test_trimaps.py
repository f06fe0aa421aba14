"""Trimaps from masks and strokes."""

import numpy as np
import pytest
import torch
from PIL import Image

import pyfast

DISC = np.hypot(*np.mgrid[-30:31, -30:31]) <= 20
PHOTO = np.random.default_rng(0).integers(60, 200, (20, 24, 3), dtype=np.uint8)


def test_the_border_of_a_mask_becomes_unknown():
    trimap = pyfast.trimap_from_mask(DISC.astype(np.float32), erode=5, dilate=3)
    radius = np.hypot(*np.mgrid[-30:31, -30:31])
    assert trimap.dtype == np.float32
    assert (trimap[radius < 14] == 1).all()
    assert (trimap[radius > 25] == 0).all()
    assert (trimap[(radius > 16.5) & (radius < 22)] == 0.5).all()


def test_what_is_neither_inside_nor_outside_stays_unknown():
    mask = torch.tensor([[0.0, 0.0, 0.4, 1.0, 1.0]])
    assert pyfast.trimap_from_mask(mask, 0, 0).tolist() == [[0, 0, 0.5, 1, 1]]


@pytest.mark.parametrize("mask", [DISC, ~DISC, np.eye(1, 50, 25) > 0, np.eye(1, 50, 25) == 0])
def test_no_side_is_ever_empty(mask):
    trimap = pyfast.trimap_from_mask(mask, erode=1000, dilate=1000)
    assert trimap.dtype == np.uint8
    assert set(np.unique(trimap)) == {0, 128, 255}


def test_kinds_and_batches():
    array = pyfast.trimap_from_mask(DISC, 3, 3)
    picture = pyfast.trimap_from_mask(Image.fromarray(DISC.astype(np.uint8) * 255), 3, 3)
    np.testing.assert_array_equal(np.asarray(picture), array)
    masks = torch.stack([torch.from_numpy(DISC), torch.from_numpy(~DISC)])
    batch = pyfast.trimap_from_mask(masks, 3, 3)
    assert batch.shape == masks.shape
    np.testing.assert_array_equal(batch[0].numpy(), array)
    assert pyfast.trimap_from_mask(masks[:, None], 3, 3).shape == (2, 1, 61, 61)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (([[1.0]],), TypeError, "mask to be a torch.Tensor, numpy.ndarray or PIL.Image.Image, got"),
        ((np.zeros((4, 4)),), ValueError, "mask with an inside and an outside, it has no inside"),
        ((np.ones((4, 4)),), ValueError, "mask with an inside and an outside, it has no outside"),
        ((np.full((4, 4), np.nan),), ValueError, "mask of finite values, got NaN"),
        ((DISC * 255.0,), ValueError, r"mask of floats in \[0, 1\].*divide by 255"),
        ((DISC.astype(int),), TypeError, "mask of floats, uint8, uint16 or bool, got int64"),
        ((np.zeros((0, 4)),), ValueError, r"mask of shape \(H, W\), got \(0, 4\)"),
        ((PHOTO,), ValueError, "mask of one channel or of equal ones, got colours"),
        ((DISC, -1), ValueError, "erode to be at least 0, got -1"),
        ((DISC, 1, "2"), TypeError, "dilate to be a number, got '2'"),
        ((DISC, float("inf")), ValueError, "erode to be at least 0, got inf"),
    ],
)
def test_wrong_masks(arguments, error, match):
    with pytest.raises(error, match=f"^trimap_from_mask: expected {match}"):
        pyfast.trimap_from_mask(*arguments)


def strokes():
    drawn = PHOTO.copy()
    drawn[3:5, 2:10], drawn[15:17, 5:20] = 255, 0
    expected = np.full(PHOTO.shape[:2], 128, np.uint8)
    expected[3:5, 2:10], expected[15:17, 5:20] = 255, 0
    return drawn, expected


def test_strokes_over_the_picture():
    drawn, expected = strokes()
    np.testing.assert_array_equal(pyfast.trimap_from_scribbles(PHOTO, drawn), expected)
    picture = pyfast.trimap_from_scribbles(Image.fromarray(PHOTO), Image.fromarray(drawn))
    np.testing.assert_array_equal(np.asarray(picture), expected)
    tensors = [torch.from_numpy(x).permute(2, 0, 1) for x in (PHOTO, drawn)]
    np.testing.assert_array_equal(pyfast.trimap_from_scribbles(*tensors).numpy(), expected)
    batch = [torch.stack([x, x]) for x in tensors]
    np.testing.assert_array_equal(pyfast.trimap_from_scribbles(*batch)[1].numpy(), expected)


def test_strokes_on_a_transparent_ground():
    drawn, expected = strokes()
    opaque = (expected != 128).astype(np.uint8) * 255
    overlay = np.dstack([drawn, opaque])
    np.testing.assert_array_equal(pyfast.trimap_from_scribbles(PHOTO, overlay), expected)


def test_white_parts_of_the_picture_are_no_strokes():
    drawn, expected = strokes()
    photo = PHOTO.copy()
    photo[:2] = drawn[:2] = 255
    np.testing.assert_array_equal(pyfast.trimap_from_scribbles(photo, drawn), expected)


@pytest.mark.parametrize(
    ("drawn", "error", "match"),
    [
        (PHOTO, ValueError, "white strokes in drawn, which mark the foreground; got none"),
        (np.full_like(PHOTO, 255), ValueError, "black strokes in drawn, which mark the background"),
        (PHOTO[:5], ValueError, "drawn of the size of image, 20 x 24, got 5 x 24"),
        (None, TypeError, "drawn to be a torch.Tensor, numpy.ndarray or PIL.Image.Image, got"),
    ],
)
def test_wrong_strokes(drawn, error, match):
    with pytest.raises(error, match=f"^trimap_from_scribbles: expected {match}"):
        pyfast.trimap_from_scribbles(PHOTO, drawn)
