"""What the pages about the zoo show is run as it stands."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pyfast import zoo
from pyfast.zoo import registry

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages are not here")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_add_a_model(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    exec("".join(blocks("add-a-model.md")), page.__dict__)
    model = zoo.create_model("pair.tiny")
    assert model(*model.example_inputs()).shape == (2, 1)
    (claim,) = registry.find("pair").claims
    assert claim.judge([claim.measure(0)])


def test_zoo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks("zoo.md"):
        if "vgg19-dcbb9e9d.pth" not in block:  # half a gigabyte that nobody has here
            exec(block, names)
    assert names["features"]["relu4_2"].shape[-2:] == (8, 8)
