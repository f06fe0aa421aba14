"""The dense CRF's page of the demo."""

from pathlib import Path

import pytest

pytest.importorskip("rich")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")
pytest.importorskip("jinja2")
from rich.console import Console

from pyfast import demo
from pyfast.demo.dense_crf import iterations, learning, methods, scene, speed

QUIET = Console(quiet=True)


def test_strokes_lie_inside_and_mean_every_label() -> None:
    height, width = scene.image().shape[2:]
    for lines in scene.STROKES.values():
        for x0, y0, x1, y1 in lines:
            assert 0 <= min(x0, x1) <= max(x0, x1) < width
            assert 0 <= min(y0, y1) <= max(y0, y1) < height
    assert scene.strokes((height, width)).unique().tolist() == [0, 1, 2, 3, 4]
    assert len(scene.COLOURS) == len(scene.STROKES)


def test_mean_field_finds_what_the_strokes_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iterations, "STEPS", (0, 1, 4))
    section, _ = iterations.section(tmp_path, QUIET)
    right = [float(row[1].rstrip("%")) for row in section.blocks[-1].rows]
    assert right == sorted(right)
    assert right[0] < 70
    assert right[-1] > 80
    assert len(list(tmp_path.iterdir())) == 3


def test_the_closed_lattice_is_nearer_to_the_exact_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "HEIGHT", 40)
    section, _ = methods.section(tmp_path, QUIET)
    errors = {row[0]: float(row[1]) for row in section.blocks[-1].rows}
    assert errors["exact"] == 0
    assert errors["closed"] < errors["lattice"] < 0.5


@pytest.mark.slow
def test_weights_are_found_again() -> None:
    history, _ = learning.learn()
    for found, truth in zip(history[-1], learning.TRUTH, strict=False):
        assert abs(found / truth - 1) < 0.1
    assert history[-1][2] < history[0][2]


def test_the_page_opens_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterations, "STEPS", (0, 1, 1, 1, 1))
    monkeypatch.setattr(methods, "HEIGHT", 40)
    monkeypatch.setattr(learning, "SHOWN", (0, 2))
    monkeypatch.setattr(learning, "learn", lambda: (3 * [(4.0, 3.0, 1.0)], 1.0))
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "CASES", speed.CASES[:1])
    index = demo.run(tmp_path, ["dense_crf"])
    text = (index.parent / "dense_crf.html").read_text()
    for picture in (tmp_path / "dense_crf").iterdir():
        assert f"dense_crf/{picture.name}" in text + index.read_text()
