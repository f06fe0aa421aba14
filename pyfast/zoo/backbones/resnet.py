"""ResNet with bottleneck blocks.

Reference: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015,
arXiv 1512.03385, table 1. As in torchvision, a block halves the resolution in its 3x3 convolution
("v1.5"); the published one, which DeepLab stands on, does so in the 1x1 before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyfast.nn import DilatedConv2d
from pyfast.zoo.backbones._backbone import Backbone, BackboneConfig
from pyfast.zoo.registry import register

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CARD: dict[str, Any] = {
    "task": "backbone",
    "paper": "He et al. 2015, arXiv 1512.03385",
    "licence": "BSD-3-Clause",
}


@dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Settings of a ResNet.

    Args:
        depth: 50 or 101 layers with weights.
        output_stride: 32, or 16 or 8: how many times smaller than the image the last features are.
            Blocks that would go beyond it are dilated instead.
        stride_in_1x1: whether a block halves the resolution as published.
        ceil_mode: whether the pooling keeps what its windows do not fill, as in Caffe.
    """

    depth: int = 50
    output_stride: int = 32
    stride_in_1x1: bool = False
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in BLOCKS or self.output_stride not in (8, 16, 32):
            raise ValueError(
                "expected depth 50 or 101 and output_stride 8, 16 or 32, "
                f"got {self.depth} and {self.output_stride}"
            )

    @classmethod
    def tiny(cls) -> ResNetConfig:
        return cls(width=4, classes=10)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(
        self, config: ResNetConfig, inner: int, width: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        outer = 4 * width
        first, second = (stride, 1) if config.stride_in_1x1 else (1, stride)
        convolution = DilatedConv2d if dilation > 1 and config.backend == "pyfast" else nn.Conv2d
        self.conv1 = nn.Conv2d(inner, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(
            width, width, 3, second, padding=dilation, dilation=dilation, bias=False
        )
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
    **CARD,
    defaults={"depth": 50},
)
@register(
    "resnet101",
    summary="ResNet with 101 layers",
    **CARD,
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
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=config.ceil_mode)
        if config.output_stride < 32:
            self.smallest = 3 if config.ceil_mode else 1
        inner, last, reached, dilation = config.width, ["relu1"], 4, 1
        for number, count in enumerate(BLOCKS[config.depth], start=1):
            width = config.width * 2 ** (number - 1)
            layer = nn.Sequential()
            stride, before = min(2 if number > 1 else 1, config.output_stride // reached), dilation
            reached *= stride
            dilation *= 2 // stride if number > 1 else 1
            for index in range(count):
                # The first 3x3 sees the resolution from before, unless the 1x1 has halved it.
                early = index == 0 and not config.stride_in_1x1
                rate = before if early else dilation
                layer.append(Bottleneck(config, inner, width, stride if index == 0 else 1, rate))
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
