"""Image files: what is written can be read, whole or not at all."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pyfast._files import atomic_write
from pyfast.data import read_image, write_png


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_eight_bits(channels, mode, tmp_path):
    image = torch.rand(channels, 7, 5)
    write_png(tmp_path / "x.png", image)
    picture = read_image(tmp_path / "x.png")
    assert (picture.mode, picture.size) == (mode, (5, 7))
    found = torch.from_numpy(np.array(picture).reshape(7, 5, channels)).permute(2, 0, 1)
    torch.testing.assert_close(found, (image * 255).round().byte())


def test_sixteen_bits_of_grey(tmp_path):
    image = torch.rand(1, 6, 9)
    write_png(tmp_path / "x.png", image, bits=16)
    found = np.array(Image.open(tmp_path / "x.png")).astype(np.int64)
    np.testing.assert_array_equal(found, (image[0].double() * 65535).round().long().numpy())


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_of_colour(channels, tmp_path):
    """Pillow reads no colours of 16 bits; OpenCV does."""
    cv2 = pytest.importorskip("cv2")
    image = torch.rand(channels, 6, 9)
    write_png(tmp_path / "x.png", image, bits=16)
    found = cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED)
    wanted = (image.double() * 65535).round().long().permute(1, 2, 0).numpy()
    if channels == 2:  # becomes colour and alpha
        wanted = wanted[..., [0, 0, 0, 1]]
    order = [2, 1, 0, 3][: wanted.shape[2]]
    np.testing.assert_array_equal(found.astype(np.int64), wanted[..., order])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lost_bits_of_colour_are_said(channels, tmp_path):
    write_png(tmp_path / "x.png", torch.rand(channels, 6, 9), bits=16)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_image(tmp_path / "x.png")
    assert ["x.png: has colours of 16 bits" in str(each.message) for each in said] == [True] * (
        channels > 1
    )


def test_values_outside_are_clamped(tmp_path):
    write_png(tmp_path / "x.png", torch.tensor([[[-1.0, 2.0]]]))
    assert np.array(read_image(tmp_path / "x.png")).tolist() == [[0, 255]]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_write(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]
    with pytest.raises(ValueError, match="write_png: expected an image"):
        write_png(path, torch.rand(5, 2, 2))
    with pytest.raises(ValueError, match="bits 8 or 16, got"):
        write_png(path, torch.rand(1, 2, 2), bits=12)
    assert path.read_text() == "before"


def test_pictures_are_upright_and_wrong_files_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (4, 2)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == (2, 4)
    with pytest.raises(FileNotFoundError, match=r"y\.png: there is no such file"):
        read_image(tmp_path / "y.png")
    (tmp_path / "z.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"z\.png: expected a picture"):
        read_image(tmp_path / "z.png")
