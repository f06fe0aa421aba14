"""Inception with batch normalisation: branches of small convolutions side by side.

Reference: Ioffe, Szegedy: Batch Normalization, 2015, arXiv 1502.03167, section 4.2 and figure 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyfast.zoo.backbones._backbone import Backbone, BackboneConfig
from pyfast.zoo.registry import register

# Channels: 1x1; reduction and result of 3x3; those of the double 3x3; pooling and its projection.
# Modules without a 1x1 branch halve the resolution and hand on what they pool.
MODULES = {
    "3a": (64, 64, 64, 64, 96, "average", 32),
    "3b": (64, 64, 96, 64, 96, "average", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "average", 128),
    "4b": (192, 96, 128, 96, 128, "average", 128),
    "4c": (160, 128, 160, 128, 160, "average", 96),
    "4d": (96, 128, 192, 160, 192, "average", 96),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "average", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}


@dataclass(frozen=True)
class InceptionConfig(BackboneConfig):
    """Settings of an Inception network.

    Args:
        last: the last module, "3a" to "5b".
    """

    last: str = "5b"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last not in MODULES:
            raise ValueError(f"last: expected one of {', '.join(MODULES)}, got {self.last!r}")

    @classmethod
    def tiny(cls) -> InceptionConfig:
        return cls(width=4, classes=10)


def convolution(inner: int, outer: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(),
    )


class InceptionModule(nn.Module):
    """Branches whose results lie side by side as channels, `channels` in all."""

    def __init__(self, inner: int, name: str, width: int) -> None:
        super().__init__()
        table = [value * width // 64 for value in MODULES[name] if isinstance(value, int)]
        single, reduce, result, double_reduce, double, projection = table
        self.stride = stride = 1 if single else 2
        branches: list[nn.Module] = [convolution(inner, single, 1)] if single else []
        branches += [
            nn.Sequential(convolution(inner, reduce, 1), convolution(reduce, result, 3, stride)),
            nn.Sequential(
                convolution(inner, double_reduce, 1),
                convolution(double_reduce, double, 3),
                convolution(double, double, 3, stride),
            ),
        ]
        pool = nn.MaxPool2d if "max" in MODULES[name] else nn.AvgPool2d
        pooled = [pool(3, stride, padding=1)]
        branches.append(
            nn.Sequential(*pooled, convolution(inner, projection, 1)) if projection else pooled[0]
        )
        self.branches = nn.ModuleList(branches)
        self.channels = single + result + double + (projection or inner)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


@register(
    "inception_bn",
    summary="Inception with batch normalisation",
    task="backbone",
    paper="Ioffe, Szegedy 2015, arXiv 1502.03167",
)
class Inception(Backbone):
    """Inception with nodes conv1, pool1, conv2, pool2, inception3a, ..., inception5b.

    Attributes:
        channels: of the last features.
        stride: pixels of the image for one of theirs, each way.
    """

    Config = InceptionConfig

    def __init__(self, config: InceptionConfig) -> None:
        super().__init__(config)
        inner, self.stride = 3 * config.width, 8
        self.conv1 = convolution(3, config.width, 7, stride=2)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(
            convolution(config.width, config.width, 1), convolution(config.width, inner, 3)
        )
        self.pool2 = nn.MaxPool2d(3, stride=2, padding=1)
        names = list(MODULES)
        for name in names[: names.index(config.last) + 1]:
            module = InceptionModule(inner, name, config.width)
            self.add_module(f"inception{name}", module)
            inner = module.channels
            self.stride *= module.stride
        self.channels = inner
        nodes = self.feature_nodes()
        ends = ("conv1", "conv2", "inception3b", "inception4d")
        self.stages = (*(node for node in ends if node in nodes[:-1]), nodes[-1])
        if self.has_classifier():
            self.fc = nn.Linear(inner, config.classes)
        self._initialise()

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        return ((name, module) for name, module in self.named_children() if name != "fc")

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features.mean((-2, -1)))
        return logits
