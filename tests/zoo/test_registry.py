"""Models by name."""

import json
import math
import subprocess
import sys

import pytest
import torch

from pyfast import zoo
from pyfast.zoo.registry import configure


def test_lists_by_wildcard_task_operator_and_layout(toy):
    assert zoo.list_models("toy*") == ["toy", "toy_wide"]
    assert zoo.list_models(task="toys") == ["toy", "toy_wide"]
    assert zoo.list_models(op="grid_sample", task="toys") == ["toy"]
    assert zoo.list_models(loads="torchvision_vgg*") == ["vgg16", "vgg19"]
    assert zoo.list_models("nothing*") == []


def test_a_name_has_forms_and_fixes_fields(toy):
    assert zoo.create_model("toy").config.width == 8
    assert zoo.create_model("toy.tiny").config.width == 2
    assert zoo.create_model("toy_wide.tiny").config.width == 16
    assert zoo.create_model("toy_wide", width=3).config.width == 3
    assert zoo.create_model("toy", rate=1).config.rate == 1


def test_config_survives_json(toy):
    config = configure("toy", sizes=(3, 4, 5))
    assert toy.Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert zoo.create_model("toy", config, width=5).config.sizes == (3, 4, 5)


@pytest.mark.parametrize(
    ("name", "overrides", "error", "message"),
    [
        ("tyo", {}, ValueError, "did you mean toy"),
        ("toy.large", {}, ValueError, "tiny, paper"),
        ("toy", {"widht": 3}, ValueError, "did you mean width.*width, rate, sizes"),
        ("toy", {"width": "3"}, TypeError, "width of type int like 8, got '3'"),
        ("toy", {"width": True}, TypeError, "width"),
        ("toy", {"width": None}, TypeError, "width of type int like 8, got None"),
        ("toy", {"sizes": (1, "2")}, TypeError, r"sizes of type tuple\[int, ...\] like \(1, 2\)"),
        ("stn_cnn", {"kernels": (3,)}, TypeError, r"kernels of type tuple\[int, int\]"),
        ("stn_cnn", {"transform": 1}, TypeError, "transform of type .*affine"),
        ("stn_cnn", {"width": -3}, ValueError, "width: expected no negative number, got -3"),
        ("stn_svhn_multi", {"widths": (4, -1)}, ValueError, "widths: expected no negative number"),
        ("deeplab_v1", {"learning_rate": -1.0}, ValueError, "learning_rate: expected no negative"),
        ("deeplab_v1", {"learning_rate": math.nan}, ValueError, "learning_rate: .*, got nan"),
        ("dilatednet8", {"front_end_steps": -1}, ValueError, "front_end_steps: expected no neg"),
        ("crf_rnn", {"iterations": -1}, ValueError, "iterations: expected no negative number"),
        ("stn_cnn", {"width": 0}, ValueError, "width: expected a positive number, got 0"),
        ("stn_birds_2x", {"scale": 0.0}, ValueError, "scale: expected a positive number"),
        ("toy", {"backend": "jax"}, ValueError, "pyfast, torch"),
        ("toy", {"config": zoo.Config()}, TypeError, "ToyConfig"),
    ],
)
def test_mistakes_are_answered_with_what_there_is(toy, name, overrides, error, message):
    with pytest.raises(error, match=message):
        zoo.create_model(name, **overrides)


def test_a_name_belongs_to_one_class(toy):
    with pytest.raises(ValueError, match="toy"):
        zoo.register("toy", summary="", task="")(zoo.backbones.VGG)
    with pytest.raises(ValueError, match="dot"):
        zoo.register("toy.small", summary="", task="")(toy)


def test_device_and_dtype(toy):
    assert zoo.create_model("toy", device="meta").device.type == "meta"
    assert zoo.create_model("toy", dtype=torch.float64).first.weight.dtype == torch.float64


def test_card(toy):
    card = zoo.info("toy.tiny")
    assert card.parameters == {"tiny": 8, "paper": 80}  # the tied weight counts once
    assert card.ops == ("grid_sample",)
    assert card.settings["width"] == 8


def test_import_brings_nothing_heavy():
    code = """
import sys, torch, torch.utils.data
before = set(sys.modules)
import pyfast.zoo, pyfast.train
packages = {name.partition(".")[0] for name in set(sys.modules) - before}
heavy = packages - set(sys.stdlib_module_names) - {"pyfast", "PIL", "safetensors", "numpy"}
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_has_the_name_whose_settings_it_has(toy):
    from pyfast.zoo.registry import name_of

    assert name_of(zoo.create_model("toy")) == "toy"
    assert name_of(zoo.create_model("toy_wide")) == "toy_wide"
    assert name_of(zoo.create_model("toy", width=16)) == "toy_wide"
    assert name_of(zoo.create_model("stn_cnn.tiny")) == "stn_cnn"
    assert name_of(zoo.create_model("stn_two_digits.tiny")) == "stn_two_digits"
    assert name_of(torch.nn.ReLU(), "ReLU") == "ReLU"
    with pytest.raises(ValueError, match="ReLU has no name"):
        name_of(torch.nn.ReLU())
