"""Distances between samples, where they are known."""

import pytest
import torch

from pyfast.train import metrics


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gap", [0.25, 1.0, 2.0])
def test_parallel_lines_are_as_far_apart_as_their_gap(gap):
    line = torch.linspace(0, 1, 200)
    a, b = (torch.stack([torch.full((200,), x), line], 1) for x in (0.0, gap))
    assert metrics.exact_wasserstein(a, b[torch.randperm(200)]) == pytest.approx(gap, abs=1e-6)


def test_exact_is_that_of_scipy_on_a_line():
    stats = pytest.importorskip("scipy.stats")
    a, b = normal(300, 1), normal(300, 1, seed=1) * 2 + 1
    wanted = stats.wasserstein_distance(a[:, 0], b[:, 0])
    assert metrics.exact_wasserstein(a, b) == pytest.approx(wanted, rel=1e-5)
    assert metrics.sliced_wasserstein(a, b) == pytest.approx(wanted, rel=1e-5)


def test_sliced_distance_of_a_shift_is_the_mean_of_its_projections():
    a = normal(500, 3)
    shift = torch.tensor([1.0, -2.0, 0.5])
    found = metrics.sliced_wasserstein(a, a + shift, directions=4000)
    # A unit vector in three dimensions has a mean absolute coordinate of 1 / 2.
    assert found == pytest.approx(shift.norm().item() / 2, rel=0.03)
    assert metrics.sliced_wasserstein(a, a) == 0


def test_sets_of_different_sizes():
    a, b = normal(1000, 2), normal(3000, 2, seed=1)
    same = metrics.sliced_wasserstein(a, b)
    assert same < 0.1
    assert metrics.sliced_wasserstein(a, b + 1) > 4 * same


def test_pyramid_finds_the_scale_that_differs():
    rough = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    other = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    # Without its finest details a picture is another at that scale and the same at the next.
    smooth = torch.nn.functional.interpolate(metrics._pyramid(other, 16)[1], (32, 32),
                                             mode="bilinear")  # fmt: skip
    fine, coarse = metrics.pyramid_distances(rough, other)
    found_fine, found_coarse = metrics.pyramid_distances(rough, smooth)
    assert found_fine > 5 * fine
    assert found_coarse < found_fine
    assert coarse < 60


def test_precision_and_recall_tell_missing_from_wrong():
    left, right = normal(200, 2), normal(200, 2, seed=1) + 20
    both = torch.cat([left, right])
    one = normal(400, 2, seed=2)
    missing = metrics.precision_recall_coverage(both, one)
    assert missing["precision"] > 0.9
    assert missing["recall"] < 0.55
    assert missing["coverage"] < 0.55
    wrong = metrics.precision_recall_coverage(one, both)
    assert wrong["precision"] < 0.55
    assert wrong["recall"] > 0.9
    same = metrics.precision_recall_coverage(one, one)
    assert same == {"precision": 1, "recall": 1, "coverage": 1}


def test_modes():
    modes = torch.tensor([[0.0, 0], [5, 0], [0, 5]])
    samples = torch.cat([modes[:2] + 0.1, torch.tensor([[9.0, 9]])])
    assert metrics.mode_coverage(samples, modes, 0.5) == {
        "covered": 2,
        "purity": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.exact_wasserstein(normal(3, 2), normal(4, 2)), r"\(3, 2\), got \(4, 2\)"),
        (lambda: metrics.sliced_wasserstein(normal(3, 2), normal(3, 3)), "N, D"),
        (lambda: metrics.precision_recall_coverage(normal(5, 2), normal(9, 2)), "k from 1"),
        (lambda: metrics.pyramid_distances(normal(2, 1, 4, 4), normal(2, 1, 4, 4)), "7 x 7"),
        (lambda: metrics.mode_coverage(normal(3), normal(3), 1), "N, D"),
    ],
)
def test_samples_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
