"""Weights that come with the package."""

import json

import pytest

pytest.importorskip("sklearn")
from safetensors import safe_open
from torch.utils.data import Subset

from pyfast import zoo
from pyfast.train import evaluate
from pyfast.zoo.hub import SHIPPED


def test_they_are_small():
    assert zoo.shipped_weights()
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 5 * 2**20


@pytest.mark.parametrize("name", zoo.shipped_weights())
def test_they_are_of_the_recipe_and_do_what_they_say(name):
    model = zoo.from_pretrained(name)
    with safe_open(SHIPPED / f"{name}.safetensors", "pt") as file:
        assert json.loads(file.metadata()["pyfast"])["model"] == name.partition(".")[0]
    assert model.config == zoo.create_model(name).config
    said = float(model.origin["accuracy"].split()[0])
    found = evaluate(model, Subset(model.dataset("test"), range(500)))["accuracy"]
    assert found == pytest.approx(said, abs=0.06)


def test_a_digit_is_read_without_a_word_about_the_model():
    from pyfast.data import DistortedDigits

    images, labels = DistortedDigits("none", "test", size=32).draw(range(50))
    answers = zoo.classify(images)
    right = [
        answer.label == str(label) for answer, label in zip(answers, labels.tolist(), strict=True)
    ]
    assert sum(right) > 35
