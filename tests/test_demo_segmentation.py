"""The page of segmentation in the demo."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("rich")
pytest.importorskip("jinja2")

from pyfast import demo, zoo
from pyfast.demo.segmentation import learning

BRIEF = learning.section


def test_the_bare_loop_learns_as_the_trainer_does(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    from pyfast.train import Trainer

    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(zoo.create_model("deeplabv2_vgg16.tiny", steps=3, width=4))
    assert list(learning.run(models[0])) == [1, 2, 3]
    Trainer(models[1], tmp_path, seed=0, device="cpu").fit()
    ours, trained = (model.state_dict() for model in models)
    for key, value in ours.items():
        torch.testing.assert_close(value, trained[key])


def test_the_page_opens_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "section", lambda *where: BRIEF(*where, steps=4, every=3))
    index = demo.run(tmp_path, ["segmentation"])
    text = (index.parent / "segmentation.html").read_text()
    assert text.count("<polyline") == 2
    assert "mean IoU" in text
    for picture in (tmp_path / "segmentation").iterdir():
        assert f"segmentation/{picture.name}" in text + index.read_text()


@pytest.mark.slow
def test_the_crf_gives_back_outlines(tmp_path: Path) -> None:
    _, facts, _ = BRIEF(tmp_path, learning.Console(quiet=True))
    assert float(facts[0].value) > 0.7
