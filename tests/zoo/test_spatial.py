"""Classifiers with spatial transformers."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, Subset

pytest.importorskip("sklearn")

from pyfast import zoo
from pyfast.nn import SpatialTransformer
from pyfast.zoo.spatial import SpatialClassifier

NAMES = [n for n in zoo.list_models() if issubclass(zoo.registry.find(n).model, SpatialClassifier)]


@pytest.fixture(params=NAMES)
def name(request):
    torch.manual_seed(0)
    return request.param


def test_data_fits_the_network_and_a_step_changes_every_transformer(name):
    model = zoo.create_model(f"{name}.tiny", batch_size=4)
    images, labels = next(iter(DataLoader(model.dataset(), batch_size=4)))
    logits = model(images)
    assert logits.shape == (*labels.shape, model.config.classes)
    assert len(model.labels) == model.config.classes
    (update,) = model.updates()
    optimizer = update.make_optimizer(model.named_parameters())
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    assert sum(sizes) == len(list(model.parameters()))
    update.loss((images, labels)).backward()
    optimizer.step()
    for transformer in model.modules():
        if isinstance(transformer, SpatialTransformer):
            assert transformer.head.slope.abs().max() > 0


def test_classify_and_evaluate(name):
    model = zoo.create_model(f"{name}.tiny")
    data = Subset(model.dataset("test"), range(6))
    images, labels = next(iter(DataLoader(data, batch_size=6)))
    probabilities = model.classify(images)
    assert model.training
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(labels.shape))
    right = (probabilities.argmax(-1) == labels).view(6, -1).all(1)
    batches = DataLoader(data, batch_size=4)
    assert model.evaluate(batches) == {"accuracy": int(right.sum()) / 6}


def test_wrong_images_are_refused(name):
    model = zoo.create_model(f"{name}.tiny")
    (images,) = model.example_inputs()
    for wrong in (images[0], images[..., 1:], torch.cat([images, images], 1)):
        with pytest.raises(ValueError, match="expected images"):
            model(wrong)


@pytest.mark.parametrize(
    ("transform", "classifier"),
    list(itertools.product(["affine", "projective", "tps", None], ["cnn", "fcn"])),
)
def test_transforms_by_config(transform, classifier):
    settings = {"transform": transform, "classifier": classifier, "backend": "pyfast"}
    model = zoo.create_model("stn_cnn.tiny", **settings)
    plain = zoo.create_model("stn_cnn.tiny", **{**settings, "backend": "torch"})
    plain.load_state_dict(model.state_dict())
    (images,) = model.example_inputs()
    torch.testing.assert_close(model(images), plain(images), rtol=1e-4, atol=1e-5)
    found = any(isinstance(module, SpatialTransformer) for module in model.modules())
    assert found == (transform is not None)


def test_the_rate_of_localisation_networks_and_its_drops():
    model = zoo.create_model("stn_cnn", steps=30, localisation_rate=0.1)
    (update,) = model.updates()
    optimizer = update.make_optimizer(model.named_parameters())
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001, 0.01])
    schedule = update.schedule(optimizer)
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[1]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.01] * 10 + [0.001] * 10 + [0.0001] * 10)


@pytest.mark.parametrize(("name", "count"), [("stn_cnn", 10), ("stn_svhn_single", 11)])
def test_fewer_classes_need_a_folder(name, count):
    model = zoo.create_model(f"{name}.tiny", classes=count - 1)
    with pytest.raises(ValueError, match=f"generated images have {count} classes"):
        model.dataset()


@pytest.mark.parametrize(("name", "channels"), [("stn_cnn", 1), ("stn_svhn_single", 3)])
def test_other_channels_need_a_folder(name, channels):
    model = zoo.create_model(f"{name}.tiny", channels=4 - channels)
    with pytest.raises(ValueError, match=f"expected channels={channels}, which the generated"):
        model.dataset()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"transform": "rigid"}, "affine"),
        ({"classifier": "mlp"}, "cnn or fcn"),
        ({"digits": 3}, "digits 1 or 2"),
        ({"optimizer": "adam"}, "sgd"),
        ({"steps": 0}, "steps"),
        ({"size": 27}, "size of at least 28"),
        ({"kernels": (17, 3)}, "something left of 20 pixels"),
    ],
)
def test_settings_that_do_not_fit(override, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model("stn_cnn.tiny", **override)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("transform", ["affine", "projective", "tps"])
def test_exported_it_gives_the_same(transform, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    torch.manual_seed(0)
    model = zoo.create_model("stn_cnn.tiny", transform=transform)
    with torch.no_grad():
        model.network.transformer.head.slope.normal_(std=0.2)
    assert zoo.export_onnx(model, tmp_path / "stn.onnx") < 1e-5
