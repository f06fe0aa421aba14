"""ResNet with bottleneck blocks.

Reference: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015,
arXiv 1512.03385, table 1. As in torchvision, a block halves the resolution in its 3x3 convolution
("v1.5"); the published one does so in the 1x1 before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyfast.zoo.backbones._backbone import Backbone, BackboneConfig
from pyfast.zoo.registry import register

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
PAPER = "He et al. 2015, arXiv 1512.03385"


@dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Settings of a ResNet.

    Args:
        depth: 50 or 101 layers with weights.
    """

    depth: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in BLOCKS:
            raise ValueError(f"expected depth 50 or 101, got {self.depth}")

    @classmethod
    def tiny(cls) -> ResNetConfig:
        return cls(width=4, classes=10)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = 4 * width
        self.conv1 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inner != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


@register(
    "resnet50",
    summary="ResNet with 50 layers",
    task="backbone",
    paper=PAPER,
    layouts=("torchvision_resnet50",),
    licence="BSD-3-Clause",
    defaults={"depth": 50},
)
@register(
    "resnet101",
    summary="ResNet with 101 layers",
    task="backbone",
    paper=PAPER,
    layouts=("torchvision_resnet101",),
    licence="BSD-3-Clause",
    defaults={"depth": 101},
)
class ResNet(Backbone):
    """ResNet-50 or ResNet-101, with nodes conv1, relu1, pool1, layer1.0, ..., layer4.2."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.conv1 = nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        inner, last = config.width, ["relu1"]
        for number, count in enumerate(BLOCKS[config.depth], start=1):
            width = config.width * 2 ** (number - 1)
            layer = nn.Sequential()
            for index in range(count):
                stride = 2 if number > 1 and index == 0 else 1
                layer.append(Bottleneck(inner, width, stride))
                inner = 4 * width
            self.add_module(f"layer{number}", layer)
            last.append(f"layer{number}.{count - 1}")
        self.stages = tuple(last)
        if self.has_classifier():
            self.fc = nn.Linear(inner, config.classes)
        self._initialise()

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        for name, module in self.named_children():
            if name.startswith("layer"):
                for index, block in enumerate(module.children()):
                    yield f"{name}.{index}", block
            elif name != "fc":
                yield name, module

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features.mean((-2, -1)))
        return logits
