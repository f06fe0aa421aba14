"""Pictures of any kind and size get labels: in Python and in the shell."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pyfast import zoo
from pyfast.cli.app import app
from pyfast.data import label_colours, to_picture
from pyfast.nn import DenseCRF


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = zoo.create_model("deeplabv2_vgg16.tiny", labels=("sky", "sea", "sand", "sun")).eval()
    with torch.no_grad():
        for parameter in model.network.head.parameters():
            parameter.mul_(30)
    return model


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 45, 70, generator=torch.Generator().manual_seed(1))


def test_the_kind_comes_back(model, image):
    result = zoo.segment(image, model, keep_probabilities=True)
    assert result.labels.dtype == torch.int64
    assert torch.equal(result.labels, model.segment(image[None])[0])
    assert torch.equal(result.probabilities.argmax(0), result.labels)
    assert result.overlay.shape == (3, 45, 70)
    array = zoo.segment(image.permute(1, 2, 0).numpy(), model)
    assert array.labels.dtype == np.uint8
    assert np.array_equal(array.labels, result.labels.numpy())
    assert array.overlay.shape == (45, 70, 3)
    assert array.probabilities is None
    picture = zoo.segment(to_picture(image), model)
    assert picture.labels.mode == "P"
    assert picture.overlay.size == picture.labels.size == (70, 45)
    assert (np.array(picture.labels) == result.labels.numpy()).mean() > 0.99  # of 8 bits
    two = zoo.segment(torch.stack([image, image.flip(-1)]), model)
    assert torch.equal(two[0].labels, result.labels)
    assert two[1].overlay.shape == (3, 45, 70)
    grey = zoo.segment(image[0], model)
    assert torch.equal(grey.labels, zoo.segment(image[:1].expand(3, -1, -1), model).labels)


def test_what_is_found_and_how_it_is_shown(model, image):
    result = zoo.segment(image, model, opacity=1.0)
    shares = result.labels.flatten().bincount(minlength=4) / result.labels.numel()
    assert torch.equal(result.shares, shares)
    assert list(result.found.values()) == sorted(shares[shares > 0].tolist(), reverse=True)
    assert set(result.found) <= set(model.config.labels)
    place = (result.labels == shares[1:].argmax() + 1).nonzero()[0]
    colour = label_colours()[result.labels[tuple(place)]] / 255
    torch.testing.assert_close(result.overlay[:, place[0], place[1]], colour)


def test_colours_are_those_of_the_palette(image):
    model = zoo.create_model("deeplabv2_vgg16.tiny", palette="camvid")
    result = zoo.segment(to_picture(image), model, opacity=1.0)
    overlay = np.array(result.overlay.convert("RGB"))
    assert (overlay == np.array(result.labels.convert("RGB"))).all()
    colour = label_colours(palette="camvid")[np.array(result.labels)[0, 0]]
    assert overlay[0, 0].tolist() == colour.tolist()


def test_tiles_give_nearly_the_same(model, image):
    whole = zoo.segment(image, model, keep_probabilities=True)
    tiled = zoo.segment(image, model, tile=40, overlap=24, keep_probabilities=True)
    assert (tiled.labels == whole.labels).float().mean() > 0.7
    torch.testing.assert_close(tiled.probabilities.sum(0), torch.ones(45, 70))
    # One tile that holds the picture is the picture.
    assert torch.equal(zoo.segment(image, model, tile=70).labels, whole.labels)
    # Where only one tile is, the result is that of the tile.
    first = zoo.segment(image[:, :40, :40], model, keep_probabilities=True).probabilities
    torch.testing.assert_close(tiled.probabilities[:, :5, :16], first[:, :5, :16])


def test_a_crf_sees_the_whole_picture(model, image):
    crf = DenseCRF(4, (), "pydensecrf")
    tiled = zoo.segment(image, model, tile=40, overlap=24, keep_probabilities=True)
    refined = zoo.segment(image, model, tile=40, overlap=24, crf=crf, keep_probabilities=True)
    unary = -tiled.probabilities[None].clamp(min=1e-8).log()
    expected = crf(unary, image[None] * 255)[0]
    torch.testing.assert_close(refined.probabilities, expected)
    default = zoo.segment(image, model, crf=True, keep_probabilities=True)
    assert not torch.equal(default.probabilities, tiled.probabilities)


def test_what_does_not_fit_is_said(model, image, tmp_path):
    with pytest.raises(TypeError, match="got VGG"):
        zoo.segment(image, zoo.create_model("vgg16.tiny"))
    with pytest.raises(ValueError, match="overlap from 0 to below 40, got 40"):
        zoo.segment(image, model, tile=40, overlap=40)
    with pytest.raises(ValueError, match="opacity from 0 to 1, got 3"):
        zoo.segment(image, model, opacity=3)
    with pytest.raises(TypeError, match=r"a bool or an nn\.DenseCRF, got 'no'"):
        zoo.segment(image, model, crf="no")
    with pytest.raises(ValueError, match="positive tile, got 0"):
        zoo.segment(image, model, tile=0)
    with pytest.raises(ValueError, match="positive numbers, got"):
        zoo.segment(image, model, scales=(float("inf"),))
    with pytest.raises(ValueError, match="picture"):
        zoo.segment(torch.rand(5, 40, 40), model)
    with pytest.raises(FileNotFoundError):
        zoo.segment(tmp_path / "no.png", model)
    with pytest.raises(FileNotFoundError):
        zoo.segment(image, tmp_path / "no model")


@pytest.fixture
def shell(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.save_pretrained(model, "model")
    (tmp_path / "in").mkdir()
    return lambda *arguments: CliRunner().invoke(app, ["segment", *arguments])


def test_a_file_in_the_shell(shell, image, tmp_path):
    to_picture(image).save("x.png")
    run = shell("x.png", "y.png", "--model", "model", "--overlay", "--flip", "--scales", "0.5,1")
    assert run.exit_code == 0, run.output
    assert any(name in run.output for name in ("sky", "sea", "sand", "sun"))
    expected = zoo.segment(tmp_path / "x.png", "model", flip=True, scales=[0.5, 1.0])
    assert np.array_equal(np.array(Image.open("y.png")), np.array(expected.labels))
    assert Image.open("y.png").mode == "P"
    assert Image.open("y-overlay.png").size == (70, 45)


def test_a_folder_in_the_shell(shell, image, tmp_path):
    for name in ("a", "c"):
        to_picture(image).save(f"in/{name}.png")
    (tmp_path / "in" / "b.png").write_bytes(b"none")
    run = shell("in", "out", "--model", "model", "--tile", "48", "--overlap", "8", "--crf")
    assert run.exit_code == 2
    assert "b.png" in run.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.png", "y.png", "--model", "model"], "no such file"),
        (["in", "out", "--model", "model"], "no picture in it"),
        (["x.png", "y.jpg", "--model", "model"], ".png file"),
        (["x.png", "no/y.png", "--model", "model"], "no such folder"),
        (["x.png", "y.png", "--model", "nothing"], "no model.safetensors"),
        (["x.png", "y.png", "--model", "model", "--scales", "a"], "--scales"),
        (["x.png", "y.png", "--model", "model", "--scales", "inf"], "expected positive numbers"),
        (["x.png", "x.png", "--model", "model"], "x.png would be written, but is read too"),
    ],
)
def test_mistakes_in_the_shell(shell, image, arguments, message):
    to_picture(image).save("x.png")
    run = shell(*arguments)
    assert run.exit_code == 2
    assert message in " ".join(run.output.replace("│", " ").split())


def test_nothing_is_written_over(shell, image, tmp_path):
    for name in ("a", "a-overlay"):
        to_picture(image).save(f"in/{name}.png")
    before = (tmp_path / "in" / "a.png").read_bytes()
    over = shell("in", "in", "--model", "model")
    assert (over.exit_code, "read too" in over.output) == (2, True)
    assert (tmp_path / "in" / "a.png").read_bytes() == before
    twice = shell("in", "out", "--model", "model", "--overlay")
    assert (twice.exit_code, "the same name" in twice.output) == (2, True)
    assert not (tmp_path / "out").exists()
