"""Cut-outs: pictures of every kind, from trimaps, strokes and mattes."""

import numpy as np
import pytest
import torch
from PIL import Image

import pyfast


@pytest.fixture(scope="module")
def scene():
    """A green disc with a soft rim over a red ground: image, trimap, alpha."""
    y, x = np.mgrid[:36, :40]
    radius = np.hypot(y - 18, x - 20)
    alpha = np.clip((10 - radius) / 4 + 0.5, 0, 1)
    colours = np.array([0.1, 0.8, 0.2]), np.array([0.9, 0.2, 0.3])
    image = alpha[..., None] * colours[0] + (1 - alpha[..., None]) * colours[1]
    trimap = np.where(radius < 7, 1.0, np.where(radius > 13, 0.0, 0.5))
    return image, trimap, alpha


def test_the_subject_has_its_own_colours(scene):
    image, trimap, alpha = scene
    rgba = pyfast.cutout(image, trimap)
    assert (rgba.dtype, rgba.shape) == (np.float64, (36, 40, 4))
    np.testing.assert_allclose(rgba[..., 3], alpha, atol=0.02)
    seen = rgba[..., 3] > 0.1
    np.testing.assert_allclose(rgba[seen][:, :3], [[0.1, 0.8, 0.2]] * seen.sum(), atol=0.05)
    again = pyfast.composite(rgba[..., :3], rgba[..., 3], (0.9, 0.2, 0.3))
    np.testing.assert_allclose(again, image, atol=0.02)


def test_every_kind_gives_its_own_kind(scene):
    image, trimap, _ = scene
    bytes_ = (image * 255).round().astype(np.uint8), (trimap * 255).round().astype(np.uint8)
    array = pyfast.cutout(*bytes_)
    assert (array.dtype, array.shape) == (np.uint8, (36, 40, 4))
    picture = pyfast.cutout(*map(Image.fromarray, bytes_))
    assert picture.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(picture), array)
    tensor = pyfast.cutout(torch.from_numpy(bytes_[0]).permute(2, 0, 1), bytes_[1])
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)
    grey = pyfast.cutout(bytes_[0][..., 1], bytes_[1])
    assert grey.shape == (36, 40, 4)
    batch = torch.from_numpy(np.stack([image, image])).permute(0, 3, 1, 2)
    assert pyfast.cutout(batch, torch.from_numpy(np.stack([trimap] * 2))).shape == (2, 4, 36, 40)


def test_files_strokes_and_mattes(scene, tmp_path):
    image, trimap, alpha = scene
    bytes_ = (image * 255).round().astype(np.uint8)
    Image.fromarray(bytes_).save(tmp_path / "image.png")
    Image.fromarray((trimap * 255).astype(np.uint8)).save(tmp_path / "trimap.png")
    of_files = pyfast.cutout(tmp_path / "image.png", str(tmp_path / "trimap.png"))
    assert of_files.mode == "RGBA"
    drawn = bytes_.copy()
    drawn[trimap == 1], drawn[trimap == 0] = 255, 0
    of_strokes = pyfast.cutout(bytes_, scribbles=drawn)
    np.testing.assert_allclose(np.asarray(of_files), of_strokes, atol=1)
    known = pyfast.cutout(image, alpha=alpha)
    np.testing.assert_allclose(known[..., 3], alpha)
    closed = pyfast.cutout(image, alpha=alpha, method="closed_form")
    np.testing.assert_allclose(closed[alpha > 0.1][:, :3], known[alpha > 0.1][:, :3], atol=0.05)


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ({}, TypeError, "one of trimap, scribbles or alpha, got none"),
        ({"trimap": 1, "alpha": 1}, TypeError, "one of trimap, scribbles or alpha, got trimap and"),
        ({"trimap": np.zeros((3, 3))}, ValueError, r"trimap of shape \(36, 40\), got \(3, 3\)"),
        ({"trimap": np.full((36, 40), np.nan)}, ValueError, "trimap of finite values"),
        ({"alpha": np.ones((36, 40)), "rtol": 1}, TypeError, "no options beside alpha, got rtol"),
    ],
)
def test_wrong_calls(scene, words, error, match):
    with pytest.raises(error, match=f"^cutout: expected {match}"):
        pyfast.cutout(scene[0], **words)


def test_wrong_marks_and_files(scene, tmp_path):
    image = scene[0]
    with pytest.raises(ValueError, match="expected trimap to mark some pixels as background"):
        pyfast.cutout(image, np.where(scene[1] == 0.5, 0.5, 1))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        pyfast.cutout(tmp_path / "none.png", scene[1])
