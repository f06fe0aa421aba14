"""Pictures of any kind in, what a model says out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("sklearn")

from pyfast import zoo
from pyfast.data import to_picture, write_png


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return zoo.create_model("stn_cnn.tiny").eval()


@pytest.fixture
def image(reader):
    image = reader.dataset("test")[3][0]
    return (image * 255).round() / 255


def test_every_kind_of_picture_gives_the_same(reader, image, tmp_path):
    write_png(tmp_path / "digit.png", image)
    array = (image[0] * 255).round().byte().numpy()
    coloured = np.repeat(array[..., None], 3, axis=2)
    clear = np.dstack([np.full_like(coloured, 255), array])  # white where there is ink
    wanted = reader.classify(image[None])[0]
    for picture in (
        image,
        image[0],
        image.expand(3, -1, -1),
        array,
        coloured,
        clear,
        image[0].double().numpy(),
        to_picture(image),
        to_picture(image).convert("RGB"),
        tmp_path / "digit.png",
        str(tmp_path / "digit.png"),
    ):
        result = zoo.classify(picture, reader)
        torch.testing.assert_close(result.probabilities, wanted, atol=1e-4, rtol=0)
        assert result.label == reader.labels[int(wanted.argmax())]
        assert result.probability == pytest.approx(wanted.max().item(), abs=1e-4)


def test_a_batch_gives_a_list(reader):
    images = torch.stack([reader.dataset("test")[index][0] for index in range(3)])
    results = zoo.classify(images, reader)
    torch.testing.assert_close(torch.stack([r.probabilities for r in results]),
                               reader.classify(images))  # fmt: skip


def test_other_sizes_are_padded_and_resized(reader, image):
    # A wide picture whose edges are black is the square one in the middle.
    wide = torch.nn.functional.pad(image, [0, 0, 20, 20])
    square = torch.nn.functional.pad(image, [20, 20, 20, 20])
    torch.testing.assert_close(
        zoo.classify(wide, reader).probabilities, zoo.classify(square, reader).probabilities
    )


def test_places_are_joined():
    model = zoo.create_model("stn_svhn_single.tiny", places=3)
    with torch.no_grad():
        model.network.places.weight.zero_()
        bias = model.network.places.bias.zero_().view(model.config.places, 11)
        bias[0, 4], bias[1:, 10] = 9, 9
    result = zoo.classify(torch.rand(3, 20, 30), model)
    assert result.label == "4"
    assert result.probability == pytest.approx(result.probabilities.amax(1).prod().item())


@dataclass(frozen=True)
class BrightConfig(zoo.Config):
    channels: int = 1
    size: int = 4


class Bright(zoo.System):
    """A classifier of somebody else."""

    Config = BrightConfig
    device = torch.device("cpu")

    def classify(self, images):
        light = images.mean((1, 2, 3))
        return torch.stack([1 - light, light], 1)


def test_a_classifier_of_one_s_own():
    model = Bright(BrightConfig())
    result = zoo.classify(torch.full((3, 20, 30), 0.75), model)
    assert (result.label, result.probability) == ("1", pytest.approx(0.75))
    model.labels = ("dark", "bright")
    assert zoo.classify(torch.zeros(20, 30), model).label == "dark"


def test_what_is_no_picture_or_no_classifier(reader, tmp_path):
    with pytest.raises(TypeError, match="picture"):
        zoo.classify([[0.0]], reader)
    with pytest.raises(FileNotFoundError, match="no such file"):
        zoo.classify(tmp_path / "missing.png", reader)
    with pytest.raises(ValueError, match="shape"):
        zoo.classify(torch.zeros(2, 8, 8), reader)
    with pytest.raises(TypeError, match="classifier, got VGG"):
        zoo.classify(Image.new("L", (8, 8)), zoo.create_model("vgg16.tiny"))
    with pytest.raises(FileNotFoundError, match="ship"):
        zoo.classify(Image.new("L", (8, 8)), "nothing")
