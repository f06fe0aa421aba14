"""What matting promises, beside what has to lose."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from torch import Tensor

from pyfast.zoo.claims import Measured, claim
from pyfast.zoo.matting.closed_form import UNKNOWN
from pyfast.zoo.registry import create_model


@claim(
    "matting",
    "mattes of hair and blur are near the true ones (mean error of unknown pixels; baseline: "
    "opacities that rise evenly through them)",
    target=0.09,
    margin=0.05,
    seconds=2,
    higher=False,
)
def _near(seed: int) -> Measured:
    from pyfast.data import PHOTOGRAPHS, matte_scene

    pair = list(permutations(PHOTOGRAPHS, 2))[seed]
    scene = matte_scene(160, 200, *pair)
    unknown = scene.trimap == UNKNOWN
    found = create_model("matting").matte(scene.image, scene.trimap)
    by_distance = _between(scene.trimap)
    return Measured(
        *((alpha - scene.alpha)[unknown].abs().mean().item() for alpha in (found, by_distance))
    )


def _between(trimap: Tensor) -> Tensor:
    """Opacities that rise evenly from the background to the foreground."""
    from scipy.ndimage import distance_transform_edt

    back, front = (distance_transform_edt((trimap != value).numpy()) for value in (0, 1))
    return trimap.new_tensor(np.asarray(back / (back + front)))
