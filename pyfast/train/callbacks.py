"""What happens beside the updates: averages of weights, measurements, a stop at the first NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pyfast._optional import require
from pyfast.train.batches import to_device
from pyfast.train.checkpoint import BEST, write
from pyfast.train.metrics import nearest_distance

if TYPE_CHECKING:
    from pyfast.train.trainer import Trainer


SAMPLES = "samples"


class Callback:
    """Is called by a trainer, in every process; all methods may be left out."""

    def check(self, trainer: Trainer) -> None:
        """Raises, before anything is written, where it cannot do what it is there for."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step of this call, when a checkpoint is loaded; the folder is there."""

    def measures(self, trainer: Trainer) -> Iterable[str]:
        """Names of what it will put into `trainer.metrics`, for `KeepBest` to know them before."""
        return ()

    def on_step(self, trainer: Trainer) -> None:
        """After each step, before a checkpoint is written."""

    def on_save(self, trainer: Trainer) -> None:
        """Before a checkpoint is written."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step of this call, also if an error ended it."""

    def evaluating(self, trainer: Trainer) -> AbstractContextManager[Any]:
        """What surrounds measurements, see `Trainer.evaluating`."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers, words, tensors. It then needs this callback too."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""


class NaNGuard(Callback):
    """Stops all processes at the first loss that is no number, and keeps the batch that led to it.

    The batch goes to `nan_batch.pt`. No checkpoint is written of weights that are not finite: the
    last one stays.

    Args:
        every: steps between two looks, default: 1. On a GPU each look waits for the step's end.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step % self.every == 0:
            self._look(trainer, trainer.values)

    def on_save(self, trainer: Trainer) -> None:
        self._look(trainer, {**trainer.values, **trainer.system.state_dict()})

    def _look(self, trainer: Trainer, values: Mapping[str, Any]) -> None:
        wrong = [name for name, value in values.items() if not _finite(value)]
        found = "another process has a NaN"
        if wrong:
            file = trainer.out / f"nan_batch{trainer.fabric.global_rank or ''}.pt"
            write(trainer.batch, file)
            found = f"{', '.join(wrong)} is not finite; the batch is in {file}"
        if trainer.any_process(bool(wrong)):
            raise FloatingPointError(f"step {trainer.step}: {found}")


def _finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor) and value.dim():
        return bool(value.isfinite().all())
    return math.isfinite(float(value))


class EMA(Callback):
    """An exponential moving average of all floating-point weights and buffers.

    Measurements, sample pictures and the model that `train` leaves behind have the averages.

    Args:
        decay: weight of the past, default: 0.999.

    Attributes:
        weights: the averages, by the names that the system's `state_dict` has.
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights: dict[str, torch.Tensor] = {}
        self._average = get_ema_multi_avg_fn(decay)

    def on_start(self, trainer: Trainer) -> None:
        for name, value in trainer.system.state_dict().items():
            kept = self.weights.get(name, value)
            self.weights[name] = kept.detach().to(value.device, copy=True)
        # The tensors that training changes in place.
        self._live = dict(trainer.system.state_dict())
        floating = [name for name, value in self._live.items() if value.is_floating_point()]
        self._floating = [self.weights[n] for n in floating], [self._live[n] for n in floating]
        self._others = [n for n in self._live if n not in set(floating)]

    @torch.no_grad()
    def on_step(self, trainer: Trainer) -> None:
        self._average(*self._floating, None)
        for name in self._others:
            self.weights[name].copy_(self._live[name])

    @contextmanager
    def evaluating(self, trainer: Trainer) -> Iterator[None]:
        if not self.weights:
            yield
            return
        kept = {name: value.clone() for name, value in self._live.items()}
        for name, value in self._live.items():
            value.copy_(self.weights[name])
        try:
            yield
        finally:
            for name, value in self._live.items():
                value.copy_(kept[name])

    def state_dict(self) -> dict[str, Any]:
        return {"decay": self.decay, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = dict(state["weights"])


class Evaluate(Callback):
    """The system's metrics on its test data, at the last step and every so many.

    They are logged as `test/<name>`. Every process measures all of the data: metrics that gather
    over processes by themselves, as torchmetrics' do, then stay right.

    Args:
        every: steps between two measurements, default: only the last step.
        data: default: `system.dataset("test")`.
    """

    def __init__(self, every: int | None = None, data: Any = None) -> None:
        self.every, self.data = every, data

    def measures(self, trainer: Trainer) -> Mapping[str, float]:
        with trainer.evaluating():
            found = evaluate(trainer.system, self.data)
        return {f"test/{name}": value for name, value in found.items()}

    def on_step(self, trainer: Trainer) -> None:
        if trainer.due(self.every):
            trainer.metrics.update(self.measures(trainer))


def evaluate(system: Any, data: Any = None) -> dict[str, float]:
    """The metrics of a system on test data, in evaluation mode, without gradients.

    Args:
        system: of the zoo.
        data: a data set, default: `system.dataset("test")`.

    Example:
        >>> from pyfast import train, zoo
        >>> train.evaluate(zoo.from_pretrained("stn_cnn.tiny"))      # doctest: +SKIP
    """
    from torch.utils.data import DataLoader

    from pyfast.zoo.system import evaluating

    dataset = system.dataset("test") if data is None else data
    batch_size = min(system.config.batch_size, len(dataset))
    # Samples of several sizes do not stack.
    loader = DataLoader(dataset, batch_size, collate_fn=getattr(dataset, "collate", None))
    device = system.device
    with evaluating(system):
        found = system.evaluate(to_device(batch, device) for batch in loader)
    return {name: float(value) for name, value in found.items()}


class KeepBest(Callback):
    """Keeps the checkpoint of the step at which a metric was best, `best.pt`, beside the last one.

    `zoo.from_pretrained` reads the model from it. Belongs behind what measures, such as `Evaluate`,
    and before `Log`. A new run is measured once before its first step, to know that the metric is
    one of those there are.

    Args:
        metric: as it is logged, such as "test/accuracy".
        mode: "max" or "min", default: "max".

    Attributes:
        value: the best so far; None before the first.

    Raises:
        ValueError: another mode; a metric that no callback `measures`, with those there are; or a
            run that goes on with another metric or mode.
    """

    def __init__(self, metric: str, mode: str = "max") -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"mode: expected max or min, got {mode!r}")
        self.metric, self.mode = metric, mode
        self.value: float | None = None

    def check(self, trainer: Trainer) -> None:
        from pyfast.zoo.registry import nearest

        if trainer.step:
            return
        known = [name for callback in trainer.callbacks for name in callback.measures(trainer)]
        if self.metric not in known:
            raise ValueError(
                f"no metric is called {self.metric!r}{nearest(self.metric, known)}; there are "
                f"{', '.join(known) or 'none'}"
            )

    def on_step(self, trainer: Trainer) -> None:
        if self.metric in trainer.metrics:
            value = trainer.metrics[self.metric]
            # The first process decides for all, which may differ in the last bits.
            if trainer.first_process(self._is_better(value)):
                self.value = value
                trainer.save(BEST)
        elif trainer.finished and self.value is None:
            there = ", ".join(trainer.metrics) or "nothing"
            trainer.warn(f"no {BEST}: {self.metric} was never measured, but {there}")

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        return not math.isnan(value) and (self.value is None or sign * value > sign * self.value)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "mode": self.mode, "value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        then, now = (state["metric"], state["mode"]), (self.metric, self.mode)
        if then != now:
            raise ValueError(f"the run keeps what is best by {then}, and is to go on by {now}")
        self.value = state["value"]


class CollapseAlarm(Callback):
    """Warns when a generator begins to repeat itself, as a loss does not tell.

    Samples of the same noise are drawn each time; logged as `diversity` is how different they are
    (`metrics.nearest_distance`), over the same of real data or, without those, over the most that
    the run has seen. Below the limit there is a warning, on the page too, and another one only
    after a recovery.

    Args:
        sample: draws so many samples, (N, ...), in evaluation mode and without gradients.
        real: samples of the data, (M, ...), of the same shape and range; default: none.
        every: steps between two looks, default: 500.
        limit: default: 0.3.
        count: how many samples, at most as many as there are of `real`, default: 64.

    Attributes:
        reference: what the distance is divided by.

    Raises:
        ValueError: real samples that are all the same, or of another shape than those drawn.

    Example:
        >>> CollapseAlarm(system.sample, digits, every=100)       # doctest: +SKIP
    """

    def __init__(
        self,
        sample: Callable[[int], torch.Tensor],
        real: torch.Tensor | None = None,
        every: int = 500,
        limit: float = 0.3,
        count: int = 64,
    ) -> None:
        self.sample, self.every, self.limit = sample, every, limit
        self.count = count if real is None else min(count, len(real))
        self._shape = None if real is None else real.shape[1:]
        self.reference = 0.0 if real is None else nearest_distance(real[: self.count].flatten(1))
        if real is not None and not self.reference > 0:
            raise ValueError("CollapseAlarm: expected real samples that differ, got the same twice")
        self._collapsed = False

    def measures(self, trainer: Trainer) -> Iterable[str]:
        return ("diversity",)

    def on_step(self, trainer: Trainer) -> None:
        if not trainer.due(self.every):
            return
        with trainer.evaluating():
            trainer.seed_generators()
            samples = self.sample(self.count)
        if self._shape not in (None, samples.shape[1:]):
            raise ValueError(
                f"CollapseAlarm: expected samples of the shape of real ones, {tuple(self._shape)}, "
                f"got {tuple(samples.shape[1:])}"
            )
        distance = nearest_distance(samples.flatten(1))
        if self._shape is None:
            self.reference = max(self.reference, distance)
        diversity = distance / self.reference if self.reference else 0.0
        trainer.metrics["diversity"] = diversity
        before = self._collapsed
        self._collapsed = trainer.first_process(diversity < self.limit)
        if self._collapsed and not before:
            than = "at its best" if self._shape is None else "real data"
            trainer.warn(
                f"the generator repeats itself: its samples are {diversity:.2g} as different from "
                f"each other as {than}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"reference": self.reference, "collapsed": self._collapsed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reference, self._collapsed = state["reference"], state["collapsed"]


class Samples(Callback):
    """Pictures of the system (`System.pictures`) as PNG files in `samples/`.

    Args:
        every: steps between two looks, default: 1000; the last step has one too.
        columns: of a grid.
    """

    def __init__(self, every: int = 1000, columns: int = 8) -> None:
        self.every, self.columns = every, columns

    def on_step(self, trainer: Trainer) -> None:
        if not trainer.due(self.every):
            return
        with trainer.evaluating():
            trainer.seed_generators()
            # In all processes: whether there are pictures decides what these then do together.
            pictures = trainer.system.pictures()
        from pyfast.data import write_png

        for name, images in pictures.items():
            trainer.pictures[name] = grid(images, self.columns)
            if trainer.fabric.is_global_zero:
                file = trainer.out / SAMPLES / f"{trainer.step:08d}_{name}.png"
                file.parent.mkdir(exist_ok=True)
                write_png(file, trainer.pictures[name])


def grid(images: torch.Tensor, columns: int = 8, gap: int = 2) -> torch.Tensor:
    """Images (N, C, H, W) as one (C, H', W'), row by row, on white.

    Example:
        >>> grid(torch.zeros(5, 3, 8, 8), columns=3).shape
        torch.Size([3, 18, 28])
    """
    images = images.detach().float().cpu()
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    result = images.new_ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        result[:, top : top + height, left : left + width] = image
    return result


class Progress(Callback):
    """A bar with the last losses, on the first process.

    Args:
        every: steps between two looks at the losses, default: 20.

    Raises:
        ImportError: tqdm is not installed; with the pip command.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self._tqdm = require("tqdm", "train").tqdm
        self._bar: Any = None

    def on_start(self, trainer: Trainer) -> None:
        if trainer.fabric.is_global_zero:
            steps = trainer.system.config.steps
            self._bar = self._tqdm(total=steps, initial=trainer.step, unit="step")

    def on_step(self, trainer: Trainer) -> None:
        if self._bar is None:
            return
        if trainer.due(self.every):
            self._bar.set_postfix(
                {k: f"{float(v):.4g}" for k, v in trainer.values.items()}, refresh=False
            )
        self._bar.update()

    def on_end(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.close()
