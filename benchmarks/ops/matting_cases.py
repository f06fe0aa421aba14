"""Cases of matting on a made scene, for the CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.common import Case, Prepared
from benchmarks.results import Goal
from benchmarks.scenes import Scene, scene_of, sides_of

FORWARD, BOTH = "forward", "forward+backward"
Prepare = Callable[[Scene, torch.device], Prepared]


def case_of(
    op: str,
    megapixels: float,
    prepare: Prepare,
    goals: tuple[Goal, ...] = (),
    direction: str = FORWARD,
    bytes_per_pixel: int = 0,
) -> Case:
    """A case on the scene of that size; `bytes_per_pixel` that have to be read and written."""
    height, width = sides_of(megapixels)
    return Case(
        op,
        (3, height, width),
        "nchw",
        direction,
        lambda case, device: prepare(scene_of(megapixels), device),
        bytes=bytes_per_pixel * height * width,
        goals=goals,
    )
