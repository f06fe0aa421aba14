"""The demo's page of matting, on small pictures."""

import io

import pytest
import torch

pytest.importorskip("rich")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")
from PIL import Image
from rich.console import Console

import pyfast
from pyfast.demo import matting
from pyfast.demo.matting import cutting, grey, speed, truth
from pyfast.demo.page import Picture


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(cutting, "WIDTH", 120)
    monkeypatch.setattr(truth, "SIZE", (60, 80))
    cases = [speed.Case(marks, (60, 80), 1.0) for marks in ("trimap", "scribbles")]
    monkeypatch.setattr(speed, "CASES", cases)


def test_page(small, tmp_path):
    printed = io.StringIO()
    folder = tmp_path / "matting"
    folder.mkdir()
    page = matting.build(folder, Console(file=printed))
    blocks = [block for section in page.sections for block in section.blocks]
    pictures = [*(block for block in blocks if isinstance(block, Picture)), page.preview]
    for picture in pictures:
        with Image.open(tmp_path / picture.file) as image:
            assert image.size == (picture.width, picture.height)
    assert {path.name for path in folder.iterdir()} == {
        picture.file.removeprefix("matting/") for picture in pictures
    }
    assert len(page.facts) == 4
    assert "iterations" in printed.getvalue()


def test_strokes_are_where_they_are_drawn():
    drawn = cutting.strokes(100, 200, (((0.25, 0.5), (0.75, 0.5)),))
    assert drawn[50, 60:140].all()
    assert not drawn[:40].any()
    assert not drawn[:, :40].any()


def test_cofactors_are_right_on_colours_and_wrong_on_grey():
    colours = torch.rand(3, 12, 14, dtype=torch.float64)
    exact = pyfast.MattingLaplacian(colours, grey.EPSILON).diagonal().view(12, 14)
    torch.testing.assert_close(grey.diagonal_by_cofactors(colours), exact, atol=1e-9, rtol=0)
    black_and_white = (torch.rand(1, 40, 40) > 0.5).double().expand(3, -1, -1).contiguous()
    exact = pyfast.MattingLaplacian(black_and_white, grey.EPSILON).diagonal().view(40, 40)
    assert (grey.diagonal_by_cofactors(black_and_white) - exact).abs().max() > 1e-5
