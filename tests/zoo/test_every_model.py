"""What holds for every model of the zoo, in its tiny form."""

import logging
from dataclasses import fields

import pytest
import torch
from torch.utils._pytree import tree_map
from torch.utils.data import default_collate

from pyfast import zoo
from pyfast.zoo.registry import configure, find

MODELS = zoo.list_models()
# Of papers and reference models in the published form; where a paper has no number, counted by hand
# from its layers.
PARAMETERS = {
    "crf_rnn": 37_878_098,
    "deeplab_v1": 20_505_429,
    "deeplabv2_resnet101": 44_048_532,
    "deeplabv2_vgg16": 37_877_652,
    "dilatednet8": 141_149_720,
    "dilatednet_context_basic": 134_374_973,
    "dilatednet_context_large": 141_149_720,
    "dilatednet_frontend": 134_346_581,
    "inception_bn": 11_194_984,
    "matting": 0,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "stn_birds_2x": 31_076_044,
    "stn_birds_4x": 51_850_704,
    "stn_cnn": 219_672,
    "stn_svhn_multi": 37_937_903,
    "stn_svhn_single": 33_112_445,
    "stn_two_digits": 227_552,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}

MAY_BE_ZERO = {  # whole numbers for which it has a meaning
    "crop": {"stn_cnn", "stn_two_digits"},
    "classes": {"inception_bn", "resnet50", "resnet101", "vgg16", "vgg19"},
    **dict.fromkeys(
        ("front_end_steps", "iterations", "ignore_label", "joint_steps", "train_iterations"), MODELS
    ),
}


@pytest.fixture(params=MODELS)
def name(request):
    torch.manual_seed(0)
    return request.param


def outputs(model):
    result = model(*model.example_inputs())
    return list(result) if isinstance(result, list | tuple) else [result]


def tiny(name, **overrides):
    return zoo.create_model(f"{name}.tiny", **overrides)


def test_sizes_and_counts_are_positive(name):
    config = configure(f"{name}.tiny")
    for setting in (field.name for field in fields(config)):
        value = getattr(config, setting)
        zero = tuple(0 for _ in value) if isinstance(value, tuple) else 0
        first = value[0] if isinstance(value, tuple) and value else value
        if type(first) is not int:
            continue
        if name in MAY_BE_ZERO.get(setting, ()):
            tiny(name, device="meta", **{setting: zero})
        else:
            with pytest.raises(ValueError, match=rf"\b{setting}\b"):
                tiny(name, device="meta", **{setting: zero})


def test_every_parameter_gets_a_finite_gradient(name):
    model = tiny(name)
    if not list(model.parameters()):
        pytest.skip("it has nothing to learn")
    if isinstance(model, zoo.System):
        batch = default_collate([model.dataset()[index] for index in range(4)])
        results = [update.loss(batch) for update in model.updates()]
        losses = [each[0] if isinstance(each, tuple) else each for each in results]
    else:
        losses = [output.float().square().mean() for output in outputs(model)]
    sum(losses).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_saved_and_loaded_it_is_the_same(name, tmp_path):
    model = tiny(name).eval()
    zoo.save_pretrained(model, tmp_path)
    again = zoo.from_pretrained(tmp_path)
    assert again.config == model.config
    inputs = model.example_inputs()
    torch.testing.assert_close(again(*inputs), model(*inputs), rtol=0, atol=0)


# The torch backend sums the CRF exactly, which lattices come near to only.
EXACT = {"crf_rnn": {"crf_method": "exact"}}


def test_both_backends_share_weights_and_results(name):
    exact = EXACT.get(name, {})
    ours, plain = tiny(name, **exact).eval(), tiny(name, backend="torch", **exact).eval()
    plain.load_state_dict(ours.state_dict())
    inputs = ours.example_inputs()
    torch.testing.assert_close(ours(*inputs), plain(*inputs), rtol=1e-4, atol=1e-5)


class Keep(logging.Handler):
    def __init__(self, records):
        super().__init__()
        self.emit = records.append


@pytest.mark.slow
def test_exported_it_gives_the_same_and_torch_is_silent(name, tmp_path, recwarn, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = tiny(name, **EXACT.get(name, {}))
    if model.no_onnx:
        pytest.skip(model.no_onnx)
    records = []
    monkeypatch.setattr(logging.getLogger("torch"), "handlers", [Keep(records)])
    assert zoo.export_onnx(model, tmp_path / "x.onnx") < 1e-5
    assert not [record.getMessage() for record in records]
    assert not [str(warning.message) for warning in recwarn]


@pytest.mark.parametrize("name", ["crf_rnn", "matting"])
def test_what_onnx_cannot_hold_is_said(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match="cannot be written as ONNX: "):
        zoo.export_onnx(tiny(name), tmp_path / "x.onnx")


def test_wrong_images_are_refused_in_words(name):
    model = tiny(name).eval()
    image, *others = model.example_inputs()
    if image.dim() != 4:
        pytest.skip("it takes no images")
    for wrong in (image[:, :1].expand(-1, 2, -1, -1), image.new_zeros(2, 2, 1, 1)):
        with pytest.raises(ValueError, match="expected image"):
            model(wrong, *others)
    with pytest.raises(TypeError, match="expected image"):
        model(image.tolist(), *others)


def test_bfloat16_on_the_cpu(name):
    model = tiny(name).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(output.isfinite().all() for output in outputs(model))


def test_the_published_form_is_built_without_memory(name):
    model = zoo.create_model(f"{name}.paper", device="meta")
    outputs(model.eval())
    assert zoo.info(name).parameters["paper"] == PARAMETERS[name]


def test_the_published_form_makes_a_step_of_training(name):
    """On "meta", where shapes and types are followed and nothing is computed."""
    model = zoo.create_model(f"{name}.paper", device="meta")
    if not isinstance(model, zoo.System) or not list(model.parameters()):
        pytest.skip("it has no recipe")
    batch = default_collate([model.dataset()[index] for index in range(2)])
    batch = tree_map(lambda tensor: tensor.to("meta"), batch)
    for update in model.updates():
        optimizer = update.make_optimizer(model.named_parameters())
        result = update.loss(batch)
        (result[0] if isinstance(result, tuple) else result).backward()
        optimizer.step()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, key


def test_its_card_says_what_it_is(name):
    card = zoo.info(name)
    assert card.summary
    assert card.task
    assert card.paper
    assert card.parameters["tiny"] <= card.parameters["paper"]


BACKBONES = [name for name in MODELS if issubclass(find(name).model, zoo.backbones.Backbone)]


@pytest.mark.parametrize("name", BACKBONES)
def test_features_by_name_and_by_stage(name):
    model = tiny(name).eval()
    (image,) = model.example_inputs()
    nodes = model.feature_nodes()
    found = model.forward_features(image, nodes)
    assert list(found) == nodes
    torch.testing.assert_close(model.classify(found[nodes[-1]]), model(image))
    stages = tiny(name, features_only=True)
    stages.load_state_dict(model.state_dict(), strict=False)
    for got, node in zip(stages.eval()(image), model.stages, strict=True):
        assert torch.equal(got, found[node])
    two = tiny(name, features_only=True, out_indices=(3, 1))
    two.load_state_dict(stages.state_dict())
    for got, index in zip(two.eval()(image), (3, 1), strict=True):
        assert torch.equal(got, found[model.stages[index]])


@pytest.mark.parametrize("name", BACKBONES)
def test_bad_images_are_refused(name):
    model = tiny(name)
    with pytest.raises(ValueError, match="from 0 to 4, got 5"):
        tiny(name, features_only=True, out_indices=(5,))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="at least 32"):
        model(torch.zeros(1, 3, 31, 64))
    with pytest.raises(ValueError, match="no node 'relu9'"):
        model.forward_features(torch.zeros(1, 3, 64, 64), ["relu9"])
