"""Learning rates by iteration: each function makes what `Update(schedule=...)` takes.

The rate is the optimiser's own times a factor of `t`, the number of steps in which the update ran.
Any scheduler of `torch.optim.lr_scheduler` fits as well: `partial(OneCycleLR, max_lr=..., ...)`.
"""

from collections.abc import Callable
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Callable[[Optimizer], LambdaLR]


def factor(function: Callable[[int], float]) -> Schedule:
    """The factor is `function(t)`.

    Example:
        >>> from pyfast.train import schedules
        >>> warm_up = schedules.factor(lambda t: min(1, (t + 1) / 500))
    """
    return partial(LambdaLR, lr_lambda=function)


def poly(steps: int, power: float = 0.9, every: int = 1) -> Schedule:
    """Falls to zero as (1 - t / steps) ** power.

    Args:
        steps: where it reaches zero.
        power: default: 0.9, that of DeepLab.
        every: steps between two changes, default: 1. DeepLab v2 has 10.

    Reference: Chen et al., DeepLab, 2018, section 4.1.
    """
    return factor(lambda t: max(0.0, 1 - t // every * every / steps) ** power)


def step(*milestones: int, gamma: float = 0.1) -> Schedule:
    """Is multiplied by `gamma` at each milestone: `step(50_000, 100_000)`."""
    return factor(lambda t: gamma ** sum(t >= milestone for milestone in milestones))


def linear(steps: int, start: int = 0) -> Schedule:
    """One up to `start`, then falls evenly to zero at `steps`.

    Reference: Zhu et al., CycleGAN, 2017, section 4 (the rate of the second half).
    """
    return factor(lambda t: min(1.0, max(0.0, (steps - t) / max(1, steps - start))))
