"""What a training step consists of: which networks learn from which loss, and when."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
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
        modules: the networks, parts of networks or single parameters that learn; all others that
            learn elsewhere are frozen meanwhile.
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
        multipliers: what the optimiser's numbers are multiplied by for some parameters. Keys are
            their names in the system's `state_dict`, with wildcards; the first that fits holds:
            `{"head.*bias": {"lr": 20, "weight_decay": 0}, "head.*": {"lr": 10}}`. Default: none.

    Raises:
        ValueError: a count or limit below what makes sense.
    """

    name: str
    modules: nn.Module | nn.Parameter | Sequence[nn.Module | nn.Parameter]
    loss: Callable[[Any], Any]
    optimizer: Callable[[Any], Optimizer]
    when: When = always
    repeat: int | Callable[[int], int] = 1
    after: Callable[[], object] | None = None
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    clip: float | None = None
    accumulate: int = 1
    multipliers: Mapping[str, Mapping[str, float]] | None = None

    def __post_init__(self) -> None:
        if self.accumulate < 1 or (self.clip is not None and not self.clip > 0):
            raise ValueError(
                f"update {self.name}: expected accumulate of at least 1 and a positive clip, "
                f"got {self.accumulate} and {self.clip}"
            )

    def times(self, step: int) -> int:
        """How often it runs in this step."""
        if not self.when(step):
            return 0
        return self.repeat(step) if callable(self.repeat) else self.repeat

    def make_optimizer(self, named: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        """The optimiser of these parameters, in one group for each entry of `multipliers`.

        Raises:
            ValueError: no parameters, an entry that fits none, or numbers the optimiser lacks.
        """
        groups: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in self.multipliers or ()}
        rest: list[nn.Parameter] = []
        for name, parameter in named:
            fitting = (pattern for pattern in groups if fnmatchcase(name, pattern))
            groups.get(next(fitting, ""), rest).append(parameter)
        unused = [pattern for pattern, parameters in groups.items() if not parameters]
        if unused or not (rest or groups):
            raise ValueError(
                f"update {self.name}: no parameter that learns is called {' or '.join(unused)}"
                if unused
                else f"update {self.name}: its modules have no parameter that learns"
            )
        if not groups:
            return self.optimizer(rest)
        parts = list(groups.values()) + ([rest] if rest else [])
        optimizer = self.optimizer([{"params": part} for part in parts])
        for factors, group in zip(
            (self.multipliers or {}).values(), optimizer.param_groups, strict=False
        ):
            for key, factor in factors.items():
                if type(group.get(key)) not in (int, float):
                    numbers = [k for k, v in group.items() if type(v) in (int, float)]
                    raise ValueError(
                        f"update {self.name}: {type(optimizer).__name__} has no number {key!r} to "
                        f"multiply, but {', '.join(numbers)}"
                    )
                group[key] *= factor
        return optimizer
