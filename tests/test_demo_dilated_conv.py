"""The page of dilated convolution in the demo."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("rich")
pytest.importorskip("jinja2")

from pyfast import demo
from pyfast.demo.dilated_conv import networks, views


def test_views_are_as_wide_as_the_dilations_say() -> None:
    for dilations in views.STACKS.values():
        assert views.width(views.view(dilations)) == 1 + 2 * sum(dilations)


def test_doubling_dilations_leave_no_hole() -> None:
    seen = views.view((1, 2, 4))
    assert int((seen > 0).sum()) == views.width(seen) ** 2
    assert int((views.view((4, 4)) > 0).sum()) == 25


@pytest.mark.parametrize("case", networks.CASES, ids=lambda case: case.what)
def test_both_forms_compute_the_same(case: networks.Case) -> None:
    small = case._replace(shape=(*case.shape[:2], *(min(n, 21) for n in case.shape[2:])))
    fast, plain, input = networks.pair(small)
    torch.testing.assert_close(fast(input), plain(input), rtol=1e-4, atol=1e-4)


def test_the_page_opens_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = networks.CASES[-1]._replace(shape=(1, 24, 100))
    monkeypatch.setattr(networks, "CASES", (small,))
    index = demo.run(tmp_path, ["dilated_conv"])
    text = (index.parent / "dilated_conv.html").read_text()
    for picture in (tmp_path / "dilated_conv").iterdir():
        assert f"dilated_conv/{picture.name}" in text + index.read_text()
