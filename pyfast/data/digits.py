"""Handwritten digits."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyfast._optional import require


class Digits(NamedTuple):
    images: Tensor  # (N, 1, 8, 8), float32 in [0, 1], ink is 1
    labels: Tensor  # (N,), int64 in 0..9


def digits() -> Digits:
    """The 1797 handwritten digits that ship with scikit-learn.

    Reference: Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998 (test set).
    """
    bunch = require("sklearn.datasets", "data").load_digits()
    images = torch.from_numpy(bunch.images).float().div_(16).unsqueeze(1)
    return Digits(images, torch.from_numpy(bunch.target).long())
