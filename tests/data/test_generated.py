"""Data that is made when it is asked for."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("sklearn")

from pyfast.data import (
    DISTORTIONS,
    DistortedDigits,
    Distortion,
    HouseNumbers,
    TwoDigits,
    TwoParts,
    digits,
)
from pyfast.data._random import choice, normal, uniform
from pyfast.data.generated import part_of

MAKERS = {
    **{name: lambda split, seed, name=name: DistortedDigits(name, split, 28, seed)
       for name in DISTORTIONS},
    "house numbers": lambda split, seed: HouseNumbers(split, 48, 3, seed),
    "two parts": lambda split, seed: TwoParts(split, 48, 4, seed),
    "two digits": lambda split, seed: TwoDigits(split, 40, seed),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_a_sample_depends_on_seed_and_index_only(name):
    data = MAKERS[name]("train", 3)
    images, labels = next(iter(DataLoader(data, batch_size=8)))
    for index in (0, 5):
        image, label = data[index]
        torch.testing.assert_close(image, images[index])
        assert torch.equal(label, labels[index])
    again = pickle.loads(pickle.dumps(data)).draw([5, 2])[0]
    torch.testing.assert_close(again, images[[5, 2]])
    assert images.min() >= 0
    assert images.max() <= 1
    if name != "none":
        assert not torch.equal(MAKERS[name]("train", 4)[0][0], images[0])
    assert not torch.equal(MAKERS[name]("test", 3)[0][0], images[0])
    with pytest.raises(IndexError):
        data[len(data)]


def test_random_numbers_are_spread_evenly():
    numbers = uniform(1, range(20_000), 5)
    assert numbers.min() > 0
    assert numbers.max() < 1
    torch.testing.assert_close(numbers.mean(0), torch.full((5,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cov(numbers.T), torch.eye(5) / 12, atol=3e-3, rtol=0)
    lagged = torch.cov(torch.stack([numbers[1:, 0], numbers[:-1, 0]]))
    torch.testing.assert_close(lagged, torch.eye(2) / 12, atol=3e-3, rtol=0)
    assert abs(normal(1, range(20_000), 1).std() - 1) < 0.02
    assert choice(1, range(2000), 1, 3).unique().tolist() == [0, 1, 2]
    assert not torch.equal(uniform((1, 0), [0], 3), uniform((1, 1), [0], 3))


def test_train_and_test_share_nothing():
    train, test = part_of("train", 1797), part_of("test", 1797)
    assert sorted(torch.cat([train, test]).tolist()) == list(range(1797))


def test_no_distortion_enlarges_the_digit():
    image = digits().images[:1]
    drawn = Distortion(fill=1.0).draw(image, 16, 0, [0])
    wanted = torch.nn.functional.interpolate(image, (16, 16), mode="bilinear")
    inside = slice(1, -1)  # at its rim a digit fades into the empty canvas
    torch.testing.assert_close(drawn[..., inside, inside], wanted[..., inside, inside])


def test_distortions_keep_their_range():
    turned = Distortion(fill=0.5, rotation=30).matrices(0, range(500))
    angle = torch.rad2deg(torch.atan2(turned[:, 0, 1], turned[:, 0, 0]))
    assert angle.abs().max() <= 30.01
    assert angle.min() < -28
    assert angle.max() > 28
    scaled = Distortion(scale=(0.5, 1.0), fill=0.5).matrices(0, range(500))
    assert scaled[:, 0, 0].min() >= 1.999
    assert scaled[:, 0, 0].max() <= 4.001
    # With all the room it has, a digit stays in the image.
    shifted = Distortion(fill=0.5, shift=1).draw(torch.ones(1, 1, 8, 8).repeat(50, 1, 1, 1),
                                                 32, 0, range(50))  # fmt: skip
    torch.testing.assert_close(shifted.sum((1, 2, 3)), torch.full((50,), 256.0), rtol=0.02, atol=0)


def test_corners_move_and_the_digit_stays_convex():
    matrices = Distortion(corners=0.2).matrices(0, range(500))
    assert matrices[:, 2, :2].abs().max() > 0.05
    # The horizon of the homography does not cross the digit.
    corners = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    back = torch.linalg.inv(matrices)
    depth = torch.cat([corners, torch.ones(4, 1)], 1) @ back.mT
    assert (depth[..., 2] / depth[:, :1, 2] > 0).all()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="rotation"):
        DistortedDigits("rotated")
    with pytest.raises(ValueError, match="train or test"):
        DistortedDigits(split="validation")
