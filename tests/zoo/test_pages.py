"""What the pages about the zoo show is run as it stands."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch.utils.data import Subset, default_collate

from pyfast import train, zoo
from pyfast.zoo import registry

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages are not here")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


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
