"""Trains a network on disturbed digits and tests it."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pyfast.data import Digits, Distortion
from pyfast.demo.sampling.digits import EVERYTHING, Backend, Split, draw, maps
from pyfast.demo.sampling.networks import Classifier, TransformerCNN


@dataclass
class Training:
    """One network's way through its training; an epoch is one look at every digit."""

    network: Classifier | TransformerCNN
    split: Split
    epochs: int
    disturbance: Distortion = EVERYTHING
    seed: int = 0
    backend: Backend = "pyfast"  # what draws the digits
    batch: int = 64
    learning_rate: float = 2e-3
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)  # test accuracy after each epoch

    def __post_init__(self) -> None:
        count = len(self.split.train.labels)
        if isinstance(self.network, Classifier):
            # The faster format for convolutions on a CPU; those of a transformer are too small.
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), self.learning_rate, weight_decay=1e-4
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            self.learning_rate,
            total_steps=self.epochs * math.ceil(count / self.batch),
            pct_start=0.2,
        )

    def epoch(self, number: int) -> None:
        images, labels = self.split.train
        # Test digits are drawn with small seeds; these are far away from them.
        seed = 1_000_000 * (self.seed + 1) + number
        drawn = draw(images, maps(self.disturbance, len(images), seed), self.backend)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        for index in order.split(self.batch):
            loss = self.network.loss(drawn[index], labels[index])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()

    def run(self) -> Iterator[float]:
        """Trains epoch by epoch and yields the test accuracy after each.

        `seconds` counts the processor's time for the training alone, without the tests.
        """
        for number in range(self.epochs):
            start = time.thread_time()
            self.epoch(number)
            self.seconds += time.thread_time() - start
            self.history.append(accuracy(self.network, self.split.test, self.disturbance))
            yield self.history[-1]


@torch.no_grad()
def accuracy(
    network: nn.Module, digits: Digits, disturbance: Distortion, renderings: int = 1
) -> float:
    """Part of `digits` that the network reads right, each drawn `renderings` times."""
    right = 0
    for seed in range(renderings):
        drawn = draw(digits.images, maps(disturbance, len(digits.images), seed))
        right += int((network(drawn).argmax(1) == digits.labels).sum())
    return right / (renderings * len(digits.labels))


@torch.no_grad()
def deviation(transformer: nn.Module, digits: Digits) -> tuple[float, float]:
    """Degrees, in the median, by which digits are off the usual angle of their class.

    Returns:
        As they are drawn, and as the transformer hands them on.
    """
    drawn_by = maps(EVERYTHING, len(digits.labels), seed=0)
    theta = transformer(draw(digits.images, drawn_by), return_theta=True)[1]
    turns = drawn_by[:, :, :2]

    def off(turns: Tensor) -> float:
        sine, cosine = turns[:, 1, 0] - turns[:, 0, 1], turns[:, 0, 0] + turns[:, 1, 1]
        angles = torch.rad2deg(torch.atan2(sine, cosine))
        classes = [angles[digits.labels == label] for label in digits.labels.unique()]
        return torch.cat([(angles - angles.median()).abs() for angles in classes]).median().item()

    return off(turns), off(turns @ theta[:, :, :2])
