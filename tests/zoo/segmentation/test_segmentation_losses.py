"""Losses over labelled pixels."""

import pytest
import torch
import torch.nn.functional as F

from pyfast.zoo.segmentation import LOSSES, cross_entropy, dice_loss, lovasz_softmax


@pytest.fixture
def scores():
    return torch.randn(
        2, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()


@pytest.fixture
def labels():
    labels = torch.randint(0, 3, (2, 5, 6), generator=torch.Generator().manual_seed(1))
    labels[:, 0] = 255
    return labels


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_perfect_wrong_and_ignored(loss, scores, labels):
    truth = F.one_hot(labels % 255, 4).movedim(-1, 1).double() * 50
    assert loss(truth, labels) < 1e-6
    wrong = truth.roll(1, 1).masked_fill(labels[:, None] == 255, 0)
    assert loss(wrong, labels) > 0.99
    changed = scores.detach().clone()
    changed[:, :, 0] = 9
    assert loss(changed, labels) == loss(scores, labels)
    assert loss(scores, torch.full_like(labels, 255)) == 0
    loss(scores, torch.full_like(labels, 255)).backward()
    assert torch.equal(scores.grad, torch.zeros_like(scores))
    assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("label", [-1, 4])
def test_labels_of_no_class_are_named(loss, scores, labels, label):
    labels[1, 2, 3] = label
    with pytest.raises(ValueError, match=f"from 0 to 3, or 255 to ignore, got {label}"):
        loss(scores, labels)


def test_cross_entropy_is_torch_s(scores, labels):
    expected = F.cross_entropy(scores, labels, ignore_index=255)
    torch.testing.assert_close(cross_entropy(scores, labels), expected)


def test_dice_by_hand():
    scores = torch.tensor([[0.6, 0.4], [0.2, 0.8]]).log().view(2, 2, 1, 1)
    labels = torch.tensor([0, 1]).view(2, 1, 1)
    # Overlaps 2 * .6 / (1 + .8) and 2 * .8 / (1 + 1.2).
    expected = 1 - (1.2 / 1.8 + 1.6 / 2.2) / 2
    assert dice_loss(scores, labels).item() == pytest.approx(expected)


def test_lovasz_of_hard_answers_is_one_minus_iou(labels):
    found = labels.roll(1, 2) % 255
    loss = lovasz_softmax(F.one_hot(found, 4).movedim(-1, 1).double() * 99, labels)
    counts, ious = labels != 255, []
    for label in range(3):
        a, b = (found == label) & counts, labels == label
        ious.append((a & b).sum() / (a | b).sum())
    torch.testing.assert_close(loss, 1 - torch.stack(ious).double().mean(), atol=1e-7, rtol=0)
