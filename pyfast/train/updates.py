"""What a training step consists of: which networks learn from which loss, and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

When = Callable[[int], bool]


def always(step: int) -> bool:
    """In every step."""
    return True


def every(count: int) -> When:
    """In steps 0, count, 2 count and so on."""
    return lambda step: step % count == 0


def not_every(count: int) -> When:
    """In the steps that `every(count)` leaves out."""
    return lambda step: step % count != 0


def starting(first: int) -> When:
    """In step `first` and all that follow."""
    return lambda step: step >= first


@dataclass(frozen=True)
class Update:
    """One optimiser's part of a training step.

    Args:
        name: of the update, in logs and checkpoints.
        modules: the networks that learn; all others that learn elsewhere are frozen meanwhile.
        loss: takes a batch, returns a scalar, or a scalar and a dictionary of numbers to log.
        optimizer: makes the optimiser from the parameters, such as `partial(Adam, lr=2e-4)`.
        when: whether it runs in a step: `every(3)`, `not_every(3)`, `starting(100)` or any function
            of the step, default: always.
        repeat: how often in a step, a number or a function of the step. The first time sees the
            batch that all updates of the step share, the others see fresh ones. Default: 1.
        after: called without arguments after each step of the optimiser, without gradients.
        schedule: makes the learning rate's schedule from the optimiser; it moves on once for each
            step in which the update runs. Default: none.
        clip: largest norm of the gradient, default: no limit.
        accumulate: how many batches give one gradient, default: 1.
    """

    name: str
    modules: nn.Module | Sequence[nn.Module]
    loss: Callable[[Any], Any]
    optimizer: Callable[[Any], Optimizer]
    when: When = always
    repeat: int | Callable[[int], int] = 1
    after: Callable[[], object] | None = None
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    clip: float | None = None
    accumulate: int = 1

    def times(self, step: int) -> int:
        """How often it runs in this step."""
        if not self.when(step):
            return 0
        return self.repeat(step) if callable(self.repeat) else self.repeat
