"""Losses over labelled pixels; pixels with the label to ignore have no part in any of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(scores: Tensor, labels: Tensor, ignore_label: int = 255) -> Tensor:
    """The mean over labelled pixels of -log softmax; 0 where no pixel is labelled.

    Args:
        scores: (B, L, H, W).
        labels: int64 (B, H, W).
        ignore_label: of pixels that do not count.

    Raises:
        ValueError: a label that is none of the classes and not ignored.
    """
    expect_labels(labels, scores.shape[1], ignore_label)
    total = F.cross_entropy(scores, labels, ignore_index=ignore_label, reduction="sum")
    return total / (labels != ignore_label).sum().clamp(min=1)


def dice_loss(scores: Tensor, labels: Tensor, ignore_label: int = 255) -> Tensor:
    """1 minus the overlap 2 |A B| / (|A| + |B|) of each class, the mean over classes that occur.

    Arguments as for `cross_entropy`.

    Reference: Milletari, Navab, Ahmadi: V-Net, 2016, section 3, with the plain sum in the
        denominator.
    """
    probabilities, truth = _labelled(scores, labels, ignore_label)
    overlap = 2 * (probabilities * truth).sum(0)
    sizes = probabilities.sum(0) + truth.sum(0)
    return _mean_present(1 - overlap / sizes.clamp(min=1e-6), truth)


def lovasz_softmax(scores: Tensor, labels: Tensor, ignore_label: int = 255) -> Tensor:
    """A convex extension of 1 minus IoU of each class, the mean over classes that occur.

    Arguments as for `cross_entropy`.

    Reference: Berman, Rannen Triki, Blaschko: The Lovász-Softmax Loss, 2018, equation 9 and
        algorithm 1.
    """
    probabilities, truth = _labelled(scores, labels, ignore_label)
    errors, order = (truth - probabilities).abs().sort(dim=0, descending=True)
    found = truth.gather(0, order)
    wanted = truth.sum(0)
    # The Jaccard loss if only the first, the first two, ... pixels were wrong.
    jaccard = 1 - (wanted - found.cumsum(0)) / (wanted + (1 - found).cumsum(0)).clamp(min=1e-6)
    steps = torch.cat([jaccard[:1], jaccard.diff(dim=0)])
    return _mean_present((errors * steps).sum(0), truth)


LOSSES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "lovasz": lovasz_softmax,
}


def expect_labels(labels: Tensor, classes: int, ignore_label: int) -> None:
    """Raises for the first label that is none of the classes and not ignored.

    Raises:
        ValueError: with the label.
    """
    if labels.is_meta:  # there are no values to look at
        return
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != ignore_label)]
    if wrong.numel():
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, or {ignore_label} to ignore, got {wrong[0]}"
        )


def _labelled(scores: Tensor, labels: Tensor, ignore_label: int) -> tuple[Tensor, Tensor]:
    """Probabilities and truth of pixels that count, both (P, L), in float32 or wider."""
    expect_labels(labels, scores.shape[1], ignore_label)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    pixels = scores.movedim(1, -1).flatten(0, -2)
    labels = labels.flatten()
    counts = labels != ignore_label
    probabilities = torch.softmax(pixels[counts], 1, dtype=dtype)
    return probabilities, F.one_hot(labels[counts], scores.shape[1]).to(dtype)


def _mean_present(losses: Tensor, truth: Tensor) -> Tensor:
    present = truth.amax(0) if len(truth) else truth.sum(0)
    return (losses * present).sum() / present.sum().clamp(min=1)
