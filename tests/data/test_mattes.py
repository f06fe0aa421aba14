"""Scenes of known alpha are what they say."""

import pytest
import torch

pytest.importorskip("sklearn", reason="the extra `data` is not installed")

from pyfast.data import matte_scene


@pytest.mark.parametrize("size", [(90, 120), (200, 150)], ids=str)
def test_a_scene_is_made_of_its_layers(size):
    scene = matte_scene(*size)
    mixed = scene.alpha * scene.foreground + (1 - scene.alpha) * scene.background
    torch.testing.assert_close(scene.image, mixed)
    assert scene.image.shape == (3, *size)
    for marks in (scene.trimap, scene.scribbles):
        assert marks.shape == size
        assert set(marks.unique().tolist()) == {0, 0.5, 1}
        for value in (0.0, 1.0):
            assert (scene.alpha[marks == value] == value).all()
    assert 0.1 < (scene.trimap == 0.5).float().mean() < 0.35
    assert (scene.scribbles == 0.5).float().mean() > 0.9
    assert ((scene.alpha > 0.05) & (scene.alpha < 0.95)).float().mean() > 0.02
