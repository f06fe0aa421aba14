"""Checkpoints of other repositories, against numbers that their own source computed."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from reference_numbers import digest, fill, uniform
from safetensors.torch import save_file
from torch import nn

from pyfast import zoo
from pyfast.zoo.checkpoints import LAYOUTS, load_checkpoint
from pyfast.zoo.preprocess import PREPROCESS

EXPECTED = json.loads(Path(__file__).with_name("expected.json").read_text())
LARGE = [name for name in LAYOUTS if "vgg1" in name or "dil" in name]  # half a gigabyte each
LARGE.remove("leongatys_vgg19_conv")


def reference_state(layout):
    return {key: fill(key, tuple(shape)) for key, shape in EXPECTED[layout]["keys"].items()}


def test_every_layout_has_numbers_and_a_model_that_loads_it():
    assert set(EXPECTED) == set(LAYOUTS)
    for layout in LAYOUTS.values():
        assert layout.model in zoo.list_models(loads=layout.name)
    assert zoo.info("vgg19").layouts == ("torchvision_vgg19", "leongatys_vgg19_conv")


@pytest.mark.parametrize("name", LAYOUTS)
def test_keys_and_shapes_are_the_reference_s(name):
    layout = LAYOUTS[name]
    state = {k: torch.empty(v, device="meta") for k, v in EXPECTED[name]["keys"].items()}
    model = zoo.create_model(layout.model, layout.config(state), device="meta")
    renamed = {key: tuple(value.shape) for key, value in layout.rename(state).items()}
    assert renamed == {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in LAYOUTS]
)
def test_outputs_are_the_reference_s(name, tmp_path):
    torch.save(reference_state(name), tmp_path / "weights.pth")
    model = load_checkpoint(tmp_path / "weights.pth")
    assert model.origin["layout"] == name
    assert "Copyright" in model.origin["licence"]
    image = uniform("input", tuple(EXPECTED[name].get("input", (1, 3, 64, 64))))
    wanted = EXPECTED[name]["outputs"]
    with torch.no_grad():
        if set(wanted) == {"output"}:
            outputs = {"output": model(image)}
        else:
            outputs = model.forward_features(image, list(wanted))
    for node, expected in wanted.items():
        got = digest(outputs[node])
        assert got["shape"] == expected["shape"]
        tolerance = 1e-4 * expected["size"]
        torch.testing.assert_close(
            torch.tensor(got["values"]), torch.tensor(expected["values"]), rtol=0, atol=tolerance
        )


def test_preprocessing_travels_with_the_layout(tmp_path):
    torch.save(reference_state("leongatys_vgg19_conv"), tmp_path / "vgg_conv.pth")
    model = load_checkpoint(tmp_path / "vgg_conv.pth")
    red = torch.zeros(3, 1, 1)
    red[0] = 1
    inputs = model.preprocess(red).flatten()
    expected = torch.tensor([-103.939, -116.779, 255 - 123.68])
    torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-3)
    zoo.save_pretrained(model, tmp_path / "ours")
    again = zoo.from_pretrained(tmp_path / "ours")
    assert again.preprocess is PREPROCESS["gatys"]
    assert again.origin == model.origin


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    state = reference_state("leongatys_vgg19_conv")
    del state["conv1_1.bias"]
    torch.save(state, tmp_path / "vgg_conv.pth")
    model = zoo.create_model("vgg19", classes=0)
    config = model.config
    with pytest.raises(ValueError, match="1 missing"):
        load_checkpoint(tmp_path / "vgg_conv.pth", model=model)
    assert model.config is config


def test_names_and_colours_of_classes_come_along_where_there_are_as_many():
    layout = LAYOUTS["fyu_dilation8_camvid"]
    config = layout.config({"final.weight": torch.empty(11, 4)})
    assert (config.palette, config.labels[:2]) == ("camvid", ("building", "tree"))
    other = layout.config({"final.weight": torch.empty(5, 4)})
    assert (other.palette, other.labels, other.classes) == ("camvid", (), 5)
    layout = LAYOUTS["kazuto_deeplabv2_resnet101_msc_21"]
    for classes, palette in ((21, "voc"), (182, "coco_stuff")):
        config = layout.config({"base.aspp.c0.weight": torch.empty(classes, 4)})
        assert (config.palette, len(config.labels)) == (palette, classes)


@pytest.mark.parametrize("preprocess", PREPROCESS.values(), ids=PREPROCESS)
def test_preprocessing_has_an_inverse(preprocess):
    image = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(preprocess.inverse(preprocess(image)), image)


# Reading and refusing, on weights of a few numbers.


@pytest.fixture
def tiny():
    return zoo.create_model("vgg16.tiny", classes=3, width=2).eval()


def torchvision_names(model):
    """A VGG's weights under the names of torchvision."""
    convolutions = iter(EXPECTED["torchvision_vgg16"]["keys"])
    return dict(zip(convolutions, model.state_dict().values(), strict=True))


def same(model, other):
    image = torch.randn(1, 3, 32, 32)
    return torch.equal(model(image), other(image))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("entry", ["", "state_dict", "model"])
def test_prefixes_and_entries(tiny, tmp_path, prefix, entry):
    state = {prefix + key: value for key, value in torchvision_names(tiny).items()}
    torch.save({"epoch": 3, entry: state} if entry else state, tmp_path / "x.pth")
    other = zoo.create_model("vgg16.tiny", classes=3, width=2)
    assert same(load_checkpoint(tmp_path / "x.pth", model=other), tiny)


def test_safetensors_and_our_own_names(tiny, tmp_path):
    save_file(tiny.state_dict(), tmp_path / "x.safetensors")
    other = zoo.create_model("vgg16.tiny", classes=3, width=2)
    assert same(load_checkpoint(tmp_path / "x.safetensors", model=other), tiny)
    assert other.origin["layout"] == "pyfast"


def test_batch_norm_without_counters_loads(tmp_path):
    model = zoo.create_model("resnet50.tiny").eval()
    old = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    other = load_checkpoint(tmp_path / "old.pth", model=zoo.create_model("resnet50.tiny"))
    assert same(other, model)


def test_what_does_not_fit_is_reported(tiny, tmp_path):
    state = torchvision_names(tiny)
    state["classifier.6.wieght"] = state.pop("classifier.6.weight")
    state["features.0.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "x.pth")
    other = zoo.create_model("vgg16.tiny", classes=3, width=2)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "x.pth", model=other)
    message = str(caught.value)
    assert "1 missing: fc8.weight: did you mean fc8.wieght?" in message
    assert "1 unexpected: fc8.wieght" in message
    assert "features.conv1_1.bias: expected (2,), got (5,)" in message
    with pytest.warns(UserWarning, match="1 missing"):
        load_checkpoint(tmp_path / "x.pth", model=other, strict=False)
    assert torch.equal(other.fc7.weight, tiny.fc7.weight)


def test_another_model_and_unknown_layouts(tiny, tmp_path):
    torch.save({"block.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"none of the layouts .*block\.weight"):
        load_checkpoint(tmp_path / "x.pth")
    with pytest.raises(ValueError, match="did you mean torchvision_vgg1"):
        load_checkpoint(tmp_path / "x.pth", layout="torchvision_vgg17")
    torch.save(torchvision_names(tiny), tmp_path / "y.pth")
    with pytest.raises(ValueError, match="none of the layouts of resnet50"):
        load_checkpoint(tmp_path / "y.pth", model=zoo.create_model("resnet50.tiny"))


class Foreign:
    """A class whose unpickling would run code."""

    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_code_is_refused_by_name(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    bad = {"state_dict": {"a": torch.ones(1)}, "more": Foreign()}
    torch.save(bad, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"builtin\w*\.eval"):
        load_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_gives_its_tensors(tiny, tmp_path, zipped):
    module = nn.Sequential()
    for key, value in torchvision_names(tiny).items():
        parent = module
        *path, name = key.split(".")
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Sequential())
            parent = getattr(parent, part)
        parent.register_parameter(name, nn.Parameter(value))
    torch.save(module, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pt", weights_only=True)
    other = zoo.create_model("vgg16.tiny", classes=3, width=2)
    assert same(load_checkpoint(tmp_path / "x.pt", model=other), tiny)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "x.pth")
    for name in ("x.pth", "x.safetensors"):
        for content in (b"", b"no weights at all, only text", b"hello world"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match="damaged"):
                load_checkpoint(tmp_path / name)
    torch.save({"a": 1}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="no state_dict"):
        load_checkpoint(tmp_path / "x.pth")
    torch.save(torch.zeros(9), tmp_path / "y.pth")
    (tmp_path / "y.pth").write_bytes((tmp_path / "y.pth").read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(tmp_path / "y.pth")
