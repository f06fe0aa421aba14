"""Real photographs."""

import torch
from torch import Tensor

from pyfast._optional import require

_SCIKIT_IMAGE = ("astronaut", "chelsea", "coffee")
_SCIKIT_LEARN = ("china", "flower")
PHOTOGRAPHS = _SCIKIT_IMAGE + _SCIKIT_LEARN


def photograph(name: str) -> Tensor:
    """A colour photograph that ships with scikit-image or scikit-learn, uint8, (3, H, W).

    Args:
        name: one of `PHOTOGRAPHS`.

    Raises:
        ValueError: for any other name.
    """
    if name in _SCIKIT_IMAGE:
        pixels = getattr(require("skimage.data", "data"), name)()
    elif name in _SCIKIT_LEARN:
        pixels = require("sklearn.datasets", "data").load_sample_image(f"{name}.jpg")
    else:
        raise ValueError(f"photograph: expected one of {', '.join(PHOTOGRAPHS)}, got {name!r}")
    return torch.tensor(pixels).permute(2, 0, 1).contiguous()
