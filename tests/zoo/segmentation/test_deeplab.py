"""DeepLab: what its networks are made of, its recipe, and how it is used."""

import math

import pytest
import torch
from torch import nn

from pyfast import zoo
from pyfast.data import Scenes
from pyfast.nn import DenseCRF, DilatedConv2d, dilate_


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_dilated_resnet_is_what_dilate_makes_of_it():
    for early in (False, True):
        settings = {"classes": 0, "stride_in_1x1": early}
        plain = zoo.create_model("resnet50.tiny", **settings).eval()
        dense = zoo.create_model("resnet50.tiny", output_stride=8, **settings).eval()
        dense.load_state_dict(plain.state_dict())
        image = torch.randn(1, 3, 64, 96)
        expected = dilate_(plain, 8)(image)
        assert expected.shape[-2:] == (8, 12)
        torch.testing.assert_close(dense(image), expected)


def test_the_published_resnet():
    model = zoo.create_model("deeplabv2_resnet101", device="meta")
    body = model.network.body
    strides = {n: m.stride for n, m in body.named_modules() if getattr(m, "stride", 1) == (2, 2)}
    assert set(strides) == {"conv1", "layer2.0.conv1", "layer2.0.downsample.0"}
    rates = [body.get_submodule(f"layer{i}.2.conv2").dilation[0] for i in (1, 2, 3, 4)]
    assert rates == [1, 1, 2, 4]
    assert isinstance(body.get_submodule("layer4.0.conv2"), DilatedConv2d)
    assert model.network.head.rates == (6, 12, 18, 24)
    assert model(torch.zeros(1, 3, 321, 321, device="meta"))[0].shape == (1, 21, 41, 41)


def test_the_published_vgg():
    model = zoo.create_model("deeplabv2_vgg16", device="meta")
    assert model(torch.zeros(1, 3, 321, 321, device="meta")).shape == (1, 21, 41, 41)
    fc6 = [branch.fc6 for branch in model.network.head.branches]
    assert [layer.dilation for layer in fc6] == [(r, r) for r in (6, 12, 18, 24)]
    assert all(layer.weight.shape == (1024, 512, 3, 3) for layer in fc6)
    old = zoo.create_model("deeplab_v1", device="meta")
    assert [branch.fc6.dilation for branch in old.network.head.branches] == [(12, 12)]
    assert sum(isinstance(m, nn.AvgPool2d) for m in old.modules()) == 1


def test_frozen_norms_stay_as_they_are():
    model = zoo.create_model("deeplabv2_resnet101.tiny", freeze_norms=True).train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    image, labels = torch.rand(2, 3, 65, 65), torch.zeros(2, 65, 65, dtype=torch.long)
    model.loss((image, labels)).backward()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert not model.network.body.bn1.training
    assert model.network.body.bn1.weight.grad is None
    with pytest.raises(ValueError, match="batch_size >= 2"):
        zoo.create_model("deeplabv2_resnet101", freeze_norms=False, batch_size=1)


@pytest.mark.parametrize("name", ["deeplab_v1", "deeplabv2_vgg16", "dilatednet8", "crf_rnn"])
def test_batch_norms_do_not_learn_from_one_picture(name):
    with pytest.raises(ValueError, match="batch_size >= 2 where batch norms learn, got 1"):
        zoo.create_model(f"{name}.tiny", batch_size=1)


def test_dropout_is_that_of_the_config():
    for dropout in (0.0, 0.3):
        model = zoo.create_model("deeplabv2_vgg16.tiny", dropout=dropout)
        found = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
        assert found == [dropout] * 4


def test_multi_scale_training_has_a_loss_for_each_and_for_the_maximum():
    model = zoo.create_model("deeplabv2_resnet101.tiny").train()
    outputs = model(torch.randn(2, 3, 65, 65))
    assert [tuple(o.shape[-2:]) for o in outputs] == [(9, 9), (5, 5), (7, 7), (9, 9)]
    assert (outputs[-1] >= outputs[0]).all()
    assert model.eval()(torch.randn(2, 3, 65, 65)).shape == (2, 4, 9, 9)


def optimizer_of(model):
    (update,) = model.updates()
    learning = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return update.make_optimizer(learning), update


def rates(model, steps):
    """The rate of some steps over that of the first."""
    optimizer, update = optimizer_of(model)
    schedule, first, found = update.schedule(optimizer), optimizer.param_groups[0]["lr"], []
    for step in range(max(steps) + 1):
        if step in steps:
            found.append(optimizer.param_groups[0]["lr"] / first)
        optimizer.step()
        schedule.step()
    return found


def test_step_sizes():
    model = zoo.create_model("deeplabv2_resnet101", device="meta")
    optimizer, update = optimizer_of(model)
    found = {
        (group["lr"], group["weight_decay"]): len(group["params"])
        for group in optimizer.param_groups
    }
    # 104 convolutions without bias in the body, four of the head; norms are frozen.
    assert found == {(2.5e-4, 5e-4): 104, (2.5e-3, 5e-4): 4, (5e-3, 0.0): 4}
    assert update.accumulate == 2
    assert rates(model, (9, 10, 19)) == pytest.approx([1] + [(1 - 10 / 20_000) ** 0.9] * 2)
    old = zoo.create_model("deeplab_v1", device="meta", steps=9)
    assert rates(old, (2, 3, 6)) == pytest.approx([1, 0.1, 0.01])
    groups = optimizer_of(old)[0].param_groups
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {
        (1e-3, 5e-4),
        (2e-3, 0.0),
        (1e-2, 5e-4),
        (2e-2, 0.0),
    }


@pytest.mark.parametrize("size", [(40, 55), (9, 64), (65, 65)])
def test_any_size(size):
    model = zoo.create_model("deeplabv2_resnet101.tiny")
    image = torch.rand(2, 3, *size)
    probabilities = model.probabilities(image)
    assert probabilities.shape == (2, 4, *size)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *size))
    assert torch.equal(model.segment(image), probabilities.argmax(1))
    assert model.training


def test_scales_flips_and_crf():
    preset = {"crf_sigmas": (), "crf_weights": ()}
    model = zoo.create_model("deeplabv2_vgg16.tiny", **preset).eval()
    image = torch.rand(1, 3, 40, 48)
    turned = model.probabilities(image.flip(-1), flip=True).flip(-1)
    torch.testing.assert_close(model.probabilities(image, flip=True), turned)
    copies = [model.probabilities(image, scales=[scale]) for scale in (0.5, 1.0)]
    mean = torch.stack(copies).mean(0)
    torch.testing.assert_close(model.probabilities(image, scales=[0.5, 1.0]), mean)
    crf = DenseCRF(4, (), "deeplab_v2_vgg16")
    plain = model.probabilities(image)
    refined = crf(-plain.log(), image * 255)
    torch.testing.assert_close(model.probabilities(image, crf=True), refined)
    torch.testing.assert_close(model.probabilities(image, crf=crf), refined)
    assert not torch.equal(plain, refined)
    with_crf = zoo.create_model("deeplabv2_vgg16.tiny", crf=True, **preset)
    with_crf.load_state_dict(model.state_dict())
    torch.testing.assert_close(with_crf.probabilities(image), refined)
    torch.testing.assert_close(with_crf.probabilities(image, crf=False), plain)


@pytest.mark.parametrize("model_dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("image_dtype", [torch.float16, torch.float32, torch.float64])
def test_a_picture_need_not_have_the_dtype_of_the_model(model_dtype, image_dtype):
    model = zoo.create_model("deeplab_v1.tiny")
    image = torch.rand(1, 3, 33, 33)
    expected = model.probabilities(image, crf=True)
    found = model.to(model_dtype).probabilities(image.to(image_dtype), crf=True)
    assert found.dtype == model_dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)


def test_numbers_of_the_crf():
    settings = {"crf_sigmas": (9.0, 20.0, 2.0), "crf_weights": (6.0, 1.5)}
    crf = zoo.create_model("deeplabv2_vgg16.tiny", **settings).post_processing()
    assert crf.sigmas.tolist() == pytest.approx([9, 20, 2])
    assert crf.weights.tolist() == [6, 1.5]
    with pytest.raises(ValueError, match="3 crf_sigmas and 2 crf_weights"):
        zoo.create_model("deeplabv2_vgg16.tiny", crf_weights=(1.0,))


def test_weights_of_a_classifier_go_into_the_body(tmp_path):
    classifier = zoo.create_model("vgg16.tiny", width=8)
    torch.save(classifier.state_dict(), tmp_path / "vgg.pth")
    model = zoo.create_model("deeplabv2_vgg16.tiny", norms=False)
    with pytest.warns(UserWarning, match="unexpected: fc6"):
        zoo.load_checkpoint(tmp_path / "vgg.pth", model=model.network.body[0], strict=False)
    got = model.network.body[0].features.conv5_3.weight
    assert torch.equal(got, classifier.features.conv5_3.weight)
    model.origin = {"source": "pyfast"}
    model.network.body[0].origin["licence"] = "MIT"  # goes with the whole
    again = zoo.from_pretrained(zoo.save_pretrained(model, tmp_path))
    assert again.origin["source"] == "pyfast"
    assert again.origin["network.body.0 licence"] == "MIT"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "at least 2 classes"),
        ({"labels": ("a", "b")}, "and 2 labels"),
        ({"loss": "hinge"}, "cross_entropy, dice, lovasz"),
        ({"schedule": "cosine"}, "poly, step"),
        ({"preprocess": "none"}, "preprocess"),
        ({"crop": 0}, "crop: expected a positive number, got 0"),
        ({"scales": ()}, "scales: expected one or more"),
        ({"crf_sigmas": (0.0, 1.0, 1.0)}, "crf_sigmas: expected positive numbers"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model("deeplabv2_vgg16.tiny", **settings)


def test_images_and_scales_that_do_not_fit():
    model = zoo.create_model("deeplabv2_vgg16.tiny")
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got \(3, 40, 40\)"):
        model.segment(torch.rand(3, 40, 40))
    with pytest.raises(ValueError, match="positive numbers"):
        model.segment(torch.rand(1, 3, 40, 40), scales=[0.0])
    with pytest.raises(ValueError, match="image_scales: expected positive"):
        zoo.create_model("deeplabv2_resnet101.tiny", image_scales=(0.5, 0.0))


def test_the_smallest_image():
    model = zoo.create_model("deeplabv2_resnet101.tiny", image_scales=()).eval()
    assert model.segment(torch.rand(1, 3, 3, 3)).shape == (1, 3, 3)
    with pytest.raises(ValueError, match="at least 3 x 3"):
        model.segment(torch.rand(1, 3, 2, 9))


def test_metrics():
    model = zoo.create_model("deeplabv2_vgg16.tiny", labels=("a", "b", "c", "d"))
    image = torch.rand(1, 3, 40, 40)
    truth = model.segment(image)
    perfect = model.evaluate([(image, truth)])
    assert perfect["miou"] == perfect["accuracy"] == 1
    truth[:, :10] = 255
    assert model.evaluate([(image, truth)])["accuracy"] == 1
    truth[:, 10:25] = (truth[:, 10:25] + 1) % 4
    half = model.evaluate([(image, truth)])
    assert half["accuracy"] == 0.5
    ious = [value for name, value in half.items() if name.startswith("iou ")]
    assert half["miou"] == pytest.approx(sum(ious) / len(ious))
    with pytest.raises(ValueError, match="from 0 to 3, or 255 to ignore, got 4"):
        model.evaluate([(image, torch.full_like(truth, 4))])


def test_a_class_that_is_ignored_has_no_iou():
    model = zoo.create_model("deeplabv2_vgg16.tiny")
    image = torch.rand(1, 3, 40, 40)
    found = model.segment(image)
    ignored = int(found.flatten().mode().values)
    model = zoo.create_model("deeplabv2_vgg16.tiny", ignore_label=ignored)
    truth = torch.full_like(found, (ignored + 1) % 4)
    model.segment = lambda image: found  # the ignored class where the truth is another
    assert model.evaluate([(image, truth)]).keys().isdisjoint({f"iou {ignored}"})
    found[:, :10] = ignored
    found[:, 10:] = (ignored + 1) % 4
    assert model.evaluate([(image, truth)])["miou"] == pytest.approx(0.75)


def test_scenes():
    image, labels = Scenes("train", 48)[3]
    again = Scenes("train", 48)[3]
    assert torch.equal(image, again[0])
    assert torch.equal(labels, again[1])
    assert not torch.equal(image, Scenes("test", 48)[3][0])
    seen = torch.cat([Scenes("test", 48)[i][1].flatten() for i in range(32)]).bincount()
    assert len(seen) == len(Scenes.labels)
    assert (seen / seen.sum() > 0.05).all()
    with pytest.raises(ValueError, match="train or test"):
        Scenes("val")
    with pytest.raises(IndexError):
        Scenes("test")[64]


def test_shapes_of_one_size_have_one_area():
    from pyfast.data.scenes import _shape

    rows, columns = torch.meshgrid(torch.arange(101.0), torch.arange(101.0), indexing="ij")
    y, x = (rows - 50).numpy(), (columns - 50).numpy()
    areas = [_shape(label, y, x, 20.0, 0.3).sum() for label in (1, 2, 3)]
    assert areas == pytest.approx([math.pi * 400] * 3, rel=0.02)


@pytest.mark.slow
def test_an_exported_network_takes_pictures_of_any_size(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = zoo.create_model("deeplabv2_vgg16.tiny").eval()
    zoo.export_onnx(model, tmp_path / "x.onnx")
    session = runtime.InferenceSession(tmp_path / "x.onnx")
    image = torch.randn(1, 3, 50, 83)
    (found,) = session.run(None, {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(image), rtol=1e-4, atol=1e-4)
