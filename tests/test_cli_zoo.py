"""The command `pyfast zoo`."""

import json
import sys

import pytest
import torch

pytest.importorskip("typer")
from typer.testing import CliRunner

from pyfast import zoo
from pyfast.cli.app import app


def call(*arguments):
    result = CliRunner().invoke(app, ["zoo", *map(str, arguments)])
    return result.exit_code, result.output


def test_list_and_info():
    code, output = call("list", "vgg*")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == ["vgg16", "vgg19"]
    width = max(map(len, zoo.list_models()))
    assert {line[width : width + 2] for line in call("list")[1].splitlines()} == {"  "}
    assert "no model is like that" in call("list", "wgg*")[1]
    assert "138357544" in call("info", "vgg16")[1]
    lines = call("info", "stn_cnn")[1].splitlines()
    for claim in zoo.info("stn_cnn").claims:
        assert [line for line in lines if line[12:] == claim]  # each on a line of its own
    card = json.loads(call("info", "vgg16", "--json")[1])
    assert card["parameters"]["paper"] == 138357544
    code, output = call("info", "vgg61")
    assert code == 2
    assert "vgg19 or vgg16" in output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("no_such_module", "No module named 'no_such_module'"),
        ("json.py", "json.py is hidden by"),
    ],
)
def test_a_module_that_is_not_there_is_named(name, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "json.py").touch()
    code, output = call("list", "--import", name)
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_convert_keeps_the_licence(tmp_path):
    state = zoo.create_model("resnet50", classes=2).state_dict()
    torch.save(state, tmp_path / "resnet50.pth")
    code, output = call("convert", tmp_path / "resnet50.pth", tmp_path / "ours.safetensors")
    assert code == 0
    assert "torchvision_resnet50" in output
    assert "Soumith Chintala" in output
    model = zoo.from_pretrained(tmp_path / "ours.safetensors")
    assert model.config.classes == 2
    assert model.origin["source"] == "pytorch/vision"
    code, output = call("convert", tmp_path / "nothing.pth", tmp_path / "x")
    assert code == 2
    assert "nothing.pth" in output
    torch.save({"settings": {}, "weights": {}, "callbacks": {}}, tmp_path / "last.pt")
    zoo.save_pretrained(zoo.create_model("stn_cnn.tiny"), tmp_path / "own.safetensors")
    for own in ("last.pt", "own.safetensors"):
        code, output = call("convert", tmp_path / own, tmp_path / "again.safetensors")
        assert code == 2
        assert "from_pretrained" in output


def test_verify_says_what_failed():
    from pyfast.zoo import Measured, claim
    from pyfast.zoo.registry import find

    claims = find("vgg16").claims
    kept = list(claims)
    try:
        claim("vgg16", "wins", target=0.9, margin=0.1, seconds=1)(lambda seed: Measured(1, 0))
        assert call("verify", "vgg16")[0] == 0
        claim("vgg16", "dies", target=0.9, margin=0.1, seconds=1)(lambda seed: Measured(0, 0))
        code, output = call("verify", "vgg16", "--fast")
        assert code == 1
        assert "passed  vgg16: wins" in output
        assert "FAILED  vgg16: dies" in output
        rows = json.loads(call("verify", "vgg16", "--json")[1])
        assert [row["passed"] for row in rows] == [True, False]
    finally:
        claims[:] = kept


def test_verify_measures_spatial_transformers():
    code, output = call("verify", "stn_*", "--fast")
    assert code == 0, output
    lines = output.splitlines()
    assert [line.split(":")[0] for line in lines] == 2 * ["passed  stn_cnn"]
    assert "a new transformer returns its input" in lines[0]


def test_export_gives_the_model_s_outputs(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = zoo.create_model("vgg16.tiny").eval()
    assert zoo.export_onnx(model, tmp_path / "x.onnx") < 1e-5
    zoo.save_pretrained(model, tmp_path / "model")
    code, output = call("export", tmp_path / "model", tmp_path / "y.onnx")
    assert code == 0, output
    assert (tmp_path / "y.onnx").stat().st_size > 100_000
