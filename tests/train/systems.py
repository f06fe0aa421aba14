"""Small systems with the training schedules that papers have."""

import os
import random
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from pyfast.train import (
    Callback,
    CollapseAlarm,
    Evaluate,
    KeepBest,
    Samples,
    Update,
    every,
    not_every,
)
from pyfast.zoo import Config, System

adam = partial(Adam, lr=1e-2)


@dataclass(frozen=True)
class Settings(Config):
    batch_size: int = 4
    steps: int = 6


class Toy(System):
    Config = Settings
    settings = Settings()
    log_every = 1

    def __init__(self, config=None):
        super().__init__(config or self.settings)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.build()

    def dataset(self, split="train"):
        generator = torch.Generator().manual_seed(2)
        return TensorDataset(torch.randn(18, 3, generator=generator))


class Regression(Toy):
    def build(self):
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, batch):
        (x,) = batch
        return (self.net(x) - x.sum(1, keepdim=True)).square().mean()

    def updates(self):
        sgd = partial(SGD, lr=0.1, momentum=0.9)
        decay = partial(LambdaLR, lr_lambda=lambda step: 0.8**step)
        return [Update("net", self.net, self.loss, sgd, schedule=decay, clip=0.5, accumulate=2)]


class NaNInOneProcess(Regression):
    def loss(self, batch):
        return super().loss(batch) * (float("nan") if os.environ.get("RANK") == "1" else 1)


class TwoPlayers(Toy):
    """Two optimisers and a pool of what the generator made before."""

    def build(self):
        self.generator, self.critic = nn.Linear(3, 3), nn.Linear(3, 1)
        self.pool = []
        self.order = []

    def fake(self, x):
        return self.generator(torch.randn_like(x) + np.random.randn())  # noqa: NPY002

    def critic_loss(self, batch):
        self.order.append("critic")
        fake = self.fake(batch[0]).detach()
        self.pool = (self.pool + [fake])[-3:]
        return self.critic(random.choice(self.pool)).mean() - self.critic(batch[0]).mean()

    def generator_loss(self, batch):
        self.order.append("generator")
        loss = -self.critic(self.fake(batch[0])).mean()
        return loss, {"distance": -loss.detach()}

    def clip_weights(self):
        for weight in self.critic.parameters():
            weight.clamp_(-0.1, 0.1)

    def updates(self):
        return [
            Update("critic", self.critic, self.critic_loss, adam),
            Update("generator", self.generator, self.generator_loss, adam),
        ]

    def training_state(self):
        return {"pool": self.pool}

    def load_training_state(self, state):
        self.pool = state["pool"]


class FiveCriticSteps(TwoPlayers):
    def updates(self):
        critic, generator = super().updates()
        critic = Update(
            "critic", critic.modules, critic.loss, adam, repeat=5, after=self.clip_weights
        )
        return [critic, generator]


class InTurns(TwoPlayers):
    """The critic in every third step instead of the generator."""

    def updates(self):
        return [
            Update("critic", self.critic, self.critic_loss, adam, when=every(3)),
            Update("generator", self.generator, self.generator_loss, adam, when=not_every(3)),
        ]


class Replay(TwoPlayers):
    """With a pool and without chance, which every process has of its own."""

    def fake(self, x):
        return self.generator(x)

    def critic_loss(self, batch):
        self.pool = (self.pool + [self.fake(batch[0]).detach()])[-3:]
        return self.critic(self.pool[0]).mean() - self.critic(batch[0]).mean()


class Pixels(Toy):
    """L-BFGS over the pixels of a picture, of which each sample wants something.

    In float64: a line search makes much of the last bits, in which two processes may differ.
    """

    settings = Settings(batch_size=18)

    def build(self):
        self.picture = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))

    def loss(self, batch):
        targets = torch.arange(12.0).view(4, 3) / 12 + 0.1 * batch[0].mean(1).view(-1, 1, 1)
        errors = (self.picture - targets) * torch.tensor([1.0, 3.0, 9.0])
        return errors.square().sum((1, 2)).mean()

    def updates(self):
        optimizer = partial(LBFGS, line_search_fn="strong_wolfe", max_iter=4)
        return [Update("picture", self.picture, self.loss, optimizer)]


class Normalised(Toy):
    """Batch normalisation, of vectors and of pictures."""

    def build(self):
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh())
        square = nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 4, 2))
        norm = nn.BatchNorm2d(4, momentum=None)
        self.head = nn.Sequential(*square, norm, nn.Flatten(), nn.Linear(4, 1))

    def loss(self, batch):
        return (self.head(self.net(batch[0])) - batch[0].prod(1, keepdim=True)).square().mean()

    def updates(self):
        return [Update("networks", (self.net, self.head), self.loss, partial(SGD, lr=0.1))]

    def evaluate(self, batches):
        return {"error": sum(self.loss(batch) for batch in batches)}

    def pictures(self):
        return {"noise": torch.rand(5, 1, 6, 6)}


class Watched(Normalised):
    """Measured and drawn in steps of which the log would know nothing otherwise."""

    log_every = 5

    def callbacks(self):
        alarm = CollapseAlarm(lambda count: self.net(torch.randn(count, 3)), every=2)
        return [Evaluate(3), KeepBest("test/error", "min"), Samples(4), alarm]


class Growing(Toy):
    """Layers come in one after the other, faded in, and the optimiser forgets at each stage."""

    def build(self):
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.stages = []

    def loss(self, batch):
        stage, part = divmod(self.step, 2)
        self.stages.append(stage)
        x = batch[0]
        for layer in self.layers[:stage]:
            x = layer(x)
        x = x.lerp(self.layers[stage](x), (part + 1) / 2)
        return (x - batch[0].flip(1)).square().mean()

    def updates(self):
        return [Update("layers", self.layers, self.loss, partial(SGD, lr=0.1, momentum=0.9))]

    def callbacks(self):
        return [Forget()]


class Forget(Callback):
    def on_step(self, trainer):
        if trainer.step % 2 == 0:
            trainer.optimizers["layers"].state.clear()
