"""Small systems with the training schedules that papers have."""

import random
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from pyfast.train import Update, every, not_every
from pyfast.zoo import Config, System

adam = partial(Adam, lr=1e-2)


@dataclass(frozen=True)
class Settings(Config):
    batch_size: int = 4
    steps: int = 6


class Toy(System):
    Config = Settings

    def __init__(self, config=None):
        super().__init__(config or Settings())
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


class TwoPlayers(Toy):
    """Two optimisers and a pool of what the generator made before."""

    def build(self):
        self.generator, self.critic = nn.Linear(3, 3), nn.Linear(3, 1)
        self.pool = []
        self.order = []

    def fake(self, x):
        return self.generator(torch.randn_like(x))

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


class Picture(nn.Module):
    def __init__(self):
        super().__init__()
        self.pixels = nn.Parameter(torch.zeros(4, 3))

    def forward(self):
        return self.pixels


class Pixels(Toy):
    def build(self):
        self.picture = Picture()

    def loss(self, batch):
        target = torch.arange(12.0).view(4, 3)
        return ((self.picture() - target) * torch.tensor([1.0, 3.0, 9.0])).square().sum()

    def updates(self):
        return [Update("picture", self.picture, self.loss, LBFGS)]
