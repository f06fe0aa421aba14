"""PyMatting's arguments as pyfast takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_planes(image: NDArray[Any]) -> Tensor:
    """An image (H, W, C) or (H, W) as a tensor of planes, float64, as PyMatting computes."""
    planes = np.atleast_3d(image).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float64))


def taken(op: str, name: str, words: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises TypeError for a word in the dictionary `name` that the function does not know."""
    unknown = sorted(set(words) - set(known))
    if unknown:
        raise TypeError(
            f"{op}: expected {name} of {', '.join(known)}, got {', '.join(unknown)} too"
        )
