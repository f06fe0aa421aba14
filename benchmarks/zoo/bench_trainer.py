"""What the trainer's loop costs over a bare loop that does the same work, at 5 ms a step."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import TensorDataset

from benchmarks.results import Figure
from pyfast.train import Callback, Evaluate, Log, NaNGuard, RunPage, Samples, Trainer, Update
from pyfast.train.batches import Batches
from pyfast.zoo import Config, System

STEPS = 500
WIDTH = 320  # for about 5 ms a step on a core
MUST, STRETCH = 3.0, 1.0  # per cent

pytestmark = pytest.mark.usefixtures("on_the_cpu")


@dataclass(frozen=True)
class WorkConfig(Config):
    steps: int = STEPS
    batch_size: int = 64


class Work(System):
    Config = WorkConfig

    def __init__(self) -> None:
        super().__init__(WorkConfig())
        widths = [WIDTH] * 8
        layers = [nn.Sequential(nn.Linear(a, a), nn.ReLU()) for a in widths]
        self.net = nn.Sequential(*layers, nn.Linear(WIDTH, 10))

    def loss(self, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def updates(self) -> list[Update]:
        return [Update("net", self.net, self.loss, partial(SGD, lr=1e-3))]

    def dataset(self, split: str = "train") -> TensorDataset:
        return TensorDataset(torch.randn(640, WIDTH), torch.randint(10, (640,)))


def bare_step(system: Work, optimizer: Optimizer, dataset: TensorDataset) -> Callable[[], None]:
    data, labels = dataset.tensors
    batches = Batches(len(data), 64, seed=0).shares_by_epoch()

    def step() -> None:
        _, share = next(batches)
        optimizer.zero_grad()
        loss = system.loss([data[share], labels[share]])
        loss.backward()
        optimizer.step()

    return step


class Alternate(Callback):
    """Runs the bare loop's step after each of the trainer's, and times both.

    In the thread's own time: other programs on the machine do not count. Both work on the same
    weights: where in memory these lie makes more of a difference than the trainer does.
    """

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset
        self.pairs: list[tuple[float, float]] = []
        self.start = 0.0

    def on_start(self, trainer: Trainer) -> None:
        self.step = bare_step(trainer.system, trainer.optimizers["net"], self.dataset)

    def on_step(self, trainer: Trainer) -> None:
        end = time.thread_time()
        self.step()
        bare = time.thread_time() - end
        if trainer.step > 20:
            self.pairs.append((end - self.start, bare))
        self.start = time.thread_time()


def bench_trainer(figure: Callable[[Figure], None], tmp_path: Path) -> None:
    system = Work()
    dataset = system.dataset()
    alternate = Alternate(dataset)
    callbacks = (NaNGuard(), Evaluate(), Samples(), Log(), RunPage(), alternate)
    Trainer(system, tmp_path, data=dataset, device="cpu", callbacks=callbacks).fit()
    # Ten steps at a time, of which one writes a line of the log.
    tens = zip(*[iter(alternate.pairs)] * 10, strict=False)
    means = [tuple(statistics.fmean(times) for times in zip(*ten, strict=True)) for ten in tens]
    bare = statistics.median(b for _, b in means)
    more = statistics.median(a - b for a, b in means)
    share = statistics.median(a / b - 1 for a, b in means)
    figure(
        Figure(
            f"trainer, bare step {1e3 * bare:.1f} ms",
            "its loop over a bare one, in per cent of 5 ms",
            100 * more / 5e-3,
            {"of the bare step": 100 * share},
            MUST,
            STRETCH,
        )
    )
