"""What every model of the zoo is: a config, networks, and what trains and uses them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from typing_extensions import Self

    from pyfast.train.callbacks import Callback
    from pyfast.train.updates import Update

Backend = Literal["pyfast", "torch"]


@dataclass(frozen=True)
class Config:
    """The settings of a model: numbers, words, booleans, None, and tuples of these.

    Args:
        backend: "pyfast", or "torch": the same weights on PyTorch's own operators, to compare with
            and to export.
    """

    backend: Backend = "pyfast"

    SIGNED: ClassVar[tuple[str, ...]] = ()  # settings that may be negative

    def __post_init__(self) -> None:
        known = get_args(Backend)
        if self.backend not in known:
            raise ValueError(f"backend: expected one of {', '.join(known)}, got {self.backend}")
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            negative = [n for n in numbers if isinstance(n, int | float) and not n >= 0]
            if negative and name not in self.SIGNED:
                raise ValueError(f"{name}: expected no negative number, got {value}")

    def expect_positive(self, *names: str) -> None:
        """Raises for the first of these settings, numbers or tuples of them, that is not positive.

        Raises:
            ValueError: with the name of the setting.
        """
        for name in names:
            value = getattr(self, name)
            several = isinstance(value, tuple)
            if min(value if several else (value,), default=1) <= 0:
                expected = "positive numbers" if several else "a positive number"
                raise ValueError(f"{name}: expected {expected}, got {value}")

    @classmethod
    def tiny(cls) -> Self:
        """What one core verifies in a minute."""
        return cls()

    @classmethod
    def paper(cls) -> Self:
        """The published settings."""
        return cls()

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` writes; `from_json` gives the config back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The config whose `to_json` this is."""
        return cls(**{name: _tuples(value) for name, value in values.items()})


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Settings of a system that `pyfast.train` trains.

    Args:
        steps: of the training.
        batch_size: of all processes together.
    """

    steps: int = 1000
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("steps", "batch_size")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; then every part is in the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(modes[0][1])  # a model may do more with it than set the flags
        for part, training in modes:
            part.training = training


def _without(model: object, method: str) -> NotImplementedError:
    return NotImplementedError(f"{type(model).__name__} has no method {method}, which this needs")


class Model(nn.Module):
    """A network that a config describes.

    Attributes:
        config: the settings it was built with.
        origin: where loaded weights come from: source, licence, layout. Travels with them.
    """

    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.origin: dict[str, str] = {}

    @abstractmethod
    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Inputs that `forward` takes, for tests and export; on the device of the weights."""
        raise _without(self, "example_inputs")

    def origins(self) -> dict[str, str]:
        """`origin` with that of parts that are models and were loaded on their own."""
        parts = (
            (f"{name} {key}", value)
            for name, part in self.named_modules()
            if name and isinstance(part, Model)
            for key, value in part.origin.items()
        )
        return {**self.origin, **dict(parts)}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def no_onnx(self) -> str:
        """Why ONNX cannot hold it; empty where it can."""
        return ""

    @property
    def free_axes(self) -> tuple[int, ...]:
        """Axes of the inputs, beside that of the batch, which may have any length in ONNX."""
        return ()


class System(Model):
    """A paper's networks with the losses, the schedule and the data that train them.

    Networks are children (`self.critic = ...`), which a trainer leaves as they are. `forward` is
    what a user wants of the trained system, on tensors; the verb of the task (`classify`,
    `segment`, `translate`, `sample`, `stylize`, `matte`) is the same for people: without gradients
    and in evaluation mode.

    Attributes:
        step: number of the training step, from 0 on, for losses that change with it.
    """

    step = 0

    @abstractmethod
    def updates(self) -> Sequence[Update]:
        """Which networks learn from which loss, and when."""
        raise _without(self, "updates")

    @abstractmethod
    def dataset(self, split: str = "train") -> Dataset[Any]:
        """Data that comes with a package, as the losses take it: "train" or "test"."""
        raise _without(self, "dataset")

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Metrics over batches of `dataset("test")`."""
        return {}

    def pictures(self) -> Mapping[str, Tensor]:
        """What shows how far training is, by name: (N, 1 or 3, H, W) in [0, 1].

        Called in evaluation mode, without gradients, with the same random numbers each time.
        """
        return {}

    def callbacks(self) -> Sequence[Callback]:
        """What belongs to the recipe beside the updates, such as an average of the weights."""
        return ()

    def training_state(self) -> dict[str, Any]:
        """What a resumed run needs beside weights and optimisers, such as a pool of images."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `training_state` gave."""
