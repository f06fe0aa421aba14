"""Models of a few lines to test the floor with."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pyfast.zoo import Config, System, register, registry


@dataclass(frozen=True)
class ToyConfig(Config):
    width: int = 8
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)

    @classmethod
    def tiny(cls):
        return cls(width=2)


@pytest.fixture
def toy(monkeypatch):
    """A registered system with tied weights under two names, gone after the test."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register("toy", summary="a toy", task="toys", ops=("grid_sample",))
    @register("toy_wide", summary="a wide toy", task="toys", defaults={"width": 16})
    class Toy(System):
        Config = ToyConfig

        def __init__(self, config):
            super().__init__(config)
            self.first = nn.Linear(config.width, config.width)
            self.second = nn.Linear(config.width, config.width)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

        def updates(self):
            return []

        def dataset(self, split="train"):
            return [self.example_inputs()]

        def example_inputs(self, batch=2):
            return (torch.ones(batch, self.config.width),)

    return Toy
