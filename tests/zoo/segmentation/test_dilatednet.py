"""DilatedNet: its two parts, the margin, the up-sampling and the stages of its training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pyfast import train, zoo
from pyfast.data import mirrored
from pyfast.nn import ContextModule
from pyfast.zoo.segmentation.dilatednet import bilinear_upsampling


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def unpadded(**settings):
    return zoo.create_model("dilatednet8.tiny", padded=False, crop=2 * 186 + 16, **settings)


def test_sizes_are_those_of_the_published_net():
    model = zoo.create_model("dilatednet8", device="meta")
    assert model(torch.zeros(1, 3, 900, 900, device="meta")).shape == (1, 21, 66, 66)
    assert [layer.out_channels for layer in model.context.layers] == [
        21 * width for width in (2, 2, 4, 8, 16, 32, 32, 1)
    ]
    assert sum(p.numel() for p in model.context.parameters()) == 6_803_139
    basic = zoo.create_model("dilatednet_context_basic", device="meta").context
    assert sum(p.numel() for p in basic.parameters()) == 28_392


def test_context_modules_of_other_depths():
    dilations = {7: (1, 1, 2, 4, 8, 1, 1), 10: (1, 1, 2, 4, 8, 16, 32, 64, 1, 1)}
    for depth, expected in dilations.items():
        module = ContextModule(3, depth=depth)
        assert module.dilations == expected
        scores = torch.rand(1, 3, 9, 9)
        assert torch.equal(module(scores), scores)
    for depth, size in ((4, "basic"), (7, "large")):
        with pytest.raises(ValueError, match=f"got {depth}"):
            ContextModule(3, size, depth=depth)


@pytest.mark.parametrize("around", [(3, 2, 4, 1), (0, 0, 0, 0)])
def test_mirrored_is_reflection(around):
    image = torch.rand(1, 2, 5, 7)
    assert torch.equal(mirrored(image, around), F.pad(image, around, mode="reflect"))


def test_a_margin_may_be_wider_than_the_image():
    image = torch.rand(1, 1, 3, 4)
    expected = np.pad(image[0, 0].numpy(), ((9, 7), (10, 2)), mode="reflect")
    assert np.array_equal(mirrored(image, (10, 2, 9, 7))[0, 0].numpy(), expected)
    assert mirrored(torch.rand(1, 1, 1, 1), (2, 2, 2, 2)).shape == (1, 1, 5, 5)


def test_a_new_context_module_changes_nothing():
    front = zoo.create_model("dilatednet_frontend.tiny").eval()
    whole = zoo.create_model("dilatednet_context_large.tiny").eval()
    whole.network.load_state_dict(front.network.state_dict())
    with torch.no_grad():
        for model in (front, whole):
            model.network.final.bias.fill_(5.0)  # on scores that are not negative
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(whole(image), front(image))


def test_scores_lie_at_every_eighth_pixel():
    """A score sees the image around its pixel, and nothing farther away than half its view."""
    model = unpadded(context="").double().eval()
    side = 2 * 186 + 24
    image = torch.randn(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    model(image)[0, :, 1, 2].sum().backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    columns = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    # 404 pixels are seen: 186 before and 217 after the pixel at most.
    for found, pixel in ((rows, 8), (columns, 16)):
        assert found[0] >= pixel
        assert found[-1] <= min(side - 1, pixel + 2 * 186 + 31)


def test_zoom_is_the_published_interpolation():
    model = unpadded().eval()
    image = torch.rand(1, 3, 21, 30)
    got = model.probabilities(image)
    inputs = model.preprocess(image)
    # Cells at pixels 0, 8, ... and one beyond the last pixel.
    scores = model(mirrored(inputs, (186, 186 + 40 - 30, 186, 186 + 32 - 21))).softmax(1)
    for row, column in ((0, 0), (8, 16), (13, 29), (20, 3)):
        (r, y), (c, x) = divmod(row, 8), divmod(column, 8)
        left = scores[0, :, r, c] * (8 - y) / 8 + scores[0, :, r + 1, c] * y / 8
        right = scores[0, :, r, c + 1] * (8 - y) / 8 + scores[0, :, r + 1, c + 1] * y / 8
        expected = left * (8 - x) / 8 + right * x / 8
        torch.testing.assert_close(got[0, :, row, column], expected, atol=1e-5, rtol=1e-4)


def test_deconvolution_starts_as_bilinear_interpolation():
    layer = bilinear_upsampling(3, 8)
    scores = torch.randn(1, 3, 5, 6)
    expected = F.interpolate(scores, scale_factor=8, mode="bilinear")
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(layer(scores)[inside], expected[inside])


@pytest.mark.parametrize("trained", [False, True])
def test_deconvolution_in_training(trained):
    model = zoo.create_model(
        "dilatednet8.tiny", upsampling="deconvolution", train_upsampling=trained
    )
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 4, 64, 64)
    assert model.segment(torch.rand(1, 3, 37, 50)).shape == (1, 37, 50)
    model.loss((torch.rand(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long))).backward()
    assert (model.upsampling.weight.grad is not None) == trained
    modules = model.updates()[-1].modules
    assert (model.upsampling in modules) == trained


def test_labels_are_taken_where_scores_are():
    labels = torch.arange(388 * 388).view(1, 388, 388)
    picked = unpadded().labels_at(labels, torch.zeros(1, 4, 2, 2))
    expected = [[row * 388 + column for column in (186, 194)] for row in (186, 194)]
    assert picked[0].tolist() == expected
    padded = zoo.create_model("dilatednet8.tiny")
    assert padded.labels_at(labels, torch.zeros(1, 4, 48, 48)).shape == (1, 48, 48)


def test_three_stages_train_what_they_should(tmp_path):
    settings = {"steps": 3, "front_end_steps": 1, "joint_steps": 1, "batch_size": 2}
    model = zoo.create_model("dilatednet8.tiny", **settings)
    seen = []

    class Watch(train.Callback):
        def on_step(self, trainer):
            seen.append(
                (set(trainer.values), {k: v.clone() for k, v in model.state_dict().items()})
            )

    before = {k: v.clone() for k, v in model.state_dict().items()}
    train.Trainer(model, tmp_path, callbacks=[Watch()]).fit()
    changed = []
    for _, state in seen:
        changed.append({k.split(".")[0] for k in state if not torch.equal(state[k], before[k])})
        before = state
    assert changed == [{"network"}, {"context"}, {"network", "context"}]
    assert [names for names, _ in seen] == [{"front end"}, {"context"}, {"joint"}]


def test_stages_of_the_names():
    names = {
        name: [update.name for update in zoo.create_model(name, device="meta").updates()]
        for name in zoo.list_models("dilatednet*")
    }
    assert names == {
        "dilatednet8": ["front end", "context", "joint"],
        "dilatednet_context_basic": ["front end", "context"],
        "dilatednet_context_large": ["front end", "context"],
        "dilatednet_frontend": ["front end"],
    }
    loaded = zoo.create_model("dilatednet_context_basic", device="meta", front_end_steps=0)
    assert [update.name for update in loaded.updates()] == ["context"]


def test_the_context_stage_takes_larger_batches():
    found = [
        (update.name, update.accumulate)
        for update in zoo.create_model("dilatednet8", device="meta", accumulate=2).updates()
    ]
    assert found == [("front end", 2), ("context", 8), ("joint", 2)]


@pytest.mark.parametrize(("padded", "side"), [(False, 380), (True, 8)])
def test_the_smallest_image_has_one_score(padded, side):
    model = zoo.create_model("dilatednet_frontend", device="meta", padded=padded)
    assert model(torch.zeros(1, 3, side, side, device="meta")).shape == (1, 21, 1, 1)
    with pytest.raises(ValueError, match=f"at least {side}"):
        model(torch.zeros(1, 3, side - 1, side, device="meta"))


@pytest.mark.parametrize("depth", [16, 19])
def test_the_smallest_image_of_an_unpadded_body(depth):
    config = {"depth": depth, "form": "dilated", "padded": False, "classes": 0}
    body = zoo.create_model("vgg16", device="meta", **config)
    side = body.smallest
    assert body(torch.zeros(1, 3, side, side, device="meta")).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):
        body.forward_features(torch.zeros(1, 3, side, side - 1, device="meta"), body.stages[-1:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upsampling": "nearest"}, "zoom, deconvolution"),
        ({"train_upsampling": True}, "upsampling='deconvolution'"),
        ({"padded": False, "crop": 400}, "372 and a multiple of 8, got 400"),
        ({"joint_steps": 400}, "within the 300 steps"),
        ({"context": "huge"}, "huge"),
    ],
)
def test_settings_of_dilatednet_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model("dilatednet8.tiny", **settings)
