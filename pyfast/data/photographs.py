"""Real photographs."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from pyfast._optional import require
from pyfast.data._random import Seed, uniform
from pyfast.ops import affine_grid_sample

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


def crops(split: str, size: int, seed: Seed, indices: Sequence[int]) -> Tensor:
    """Square pieces of a photograph, (N, 3, size, size), float32 in [0, 1]: grounds for drawings.

    Each is a function of the seed and its index; "train" takes them from the left two thirds of the
    picture, "test" from the right third.
    """
    picture = _ground(split)
    height, width = picture.shape[-2:]
    random = uniform(seed, indices, 3)
    part = 0.3 + 0.4 * random[:, 0]  # of the shorter side
    shorter = min(height, width)
    scale = part[:, None] * shorter / torch.tensor([width, height])
    shift = (2 * random[:, 1:] - 1) * (1 - scale)
    theta = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)
    return affine_grid_sample(picture, theta, (size, size), padding_mode="border")


@cache
def _ground(split: str) -> Tensor:
    picture = photograph("china").float()[None] / 255
    cut = 2 * picture.shape[-1] // 3
    return picture[..., :cut] if split == "train" else picture[..., cut:]
