"""What the pages about the zoo show is run as it stands."""

import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from torch.utils.data import Subset, default_collate

from pyfast import train, zoo
from pyfast.zoo import registry

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages are not here")


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_add_a_model(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    exec("".join(blocks("add-a-model.md")), page.__dict__)
    batch = default_collate([page.model.dataset()[index] for index in range(8)])
    (update,) = page.model.updates()
    optimizer = update.make_optimizer(page.model.named_parameters())
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(update.loss(batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    (verdict,) = zoo.verify("reader")
    assert verdict.passed
    few = Subset(page.model.dataset("test"), range(16))
    for steps, resume in ((2, False), (3, True)):
        model = zoo.create_model("reader.tiny", steps=steps)
        saved = train.train(model, tmp_path, resume=resume, test_data=few)
    again = zoo.from_pretrained(saved)
    assert train.evaluate(again, few)["accuracy"] == train.read_log(tmp_path)[-1]["test/accuracy"]


def test_a_model_in_a_file_of_one_s_own(monkeypatch, tmp_path):
    """The shell's part of the page, on a file that has what the page says of the model."""
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from pyfast.cli.app import app

    page = "add-a-model.md"
    *model, _ = blocks(page)  # without the last, which uses it
    (tmp_path / "reader.py").write_text("".join(model))
    (commands,) = (text for text in blocks(page, "sh") if "--import" in text)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "reader", raising=False)
    try:
        for line in commands.splitlines():
            if "export" in line and not find_spec("onnxscript"):
                continue
            result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, result.output
    finally:
        sys.modules.pop("reader", None)
    assert train.read_log("runs/reader")[-1]["step"] == 50


def test_zoo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks("zoo.md"):
        if "vgg19-dcbb9e9d.pth" not in block:  # half a gigabyte that nobody has here
            exec(block, names)
    assert names["features"]["relu4_2"].shape[-2:] == (8, 8)


def test_spatial():
    names: dict = {}
    exec("".join(blocks("zoo/spatial.md")), names)
    assert names["answer"].label in names["model"].labels
    assert names["labels"].shape == (5,)


def test_segmentation():
    names: dict = {}
    exec("".join(blocks("zoo/segmentation.md")), names)
    assert names["labels"].shape == (1, 65, 97)
    assert names["scores"].shape == (1, 4, 9, 13)
    assert names["result"].labels.shape == names["picture"].shape[-2:]


def test_matting():
    names: dict = {}
    exec("".join(blocks("operators/matting.md")), names)
    assert names["alpha"].shape == (96, 96)
    assert names["errors"]["MSE"] < 0.05
