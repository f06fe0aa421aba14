"""VGG: small convolutions, many of them.

Reference: Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition,
2015, arXiv 1409.1556, table 1, columns D and E.
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

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FORMS = ("classifier", "deeplab", "dilated")
CARD: dict[str, Any] = {
    "task": "backbone",
    "paper": "Simonyan, Zisserman 2015, arXiv 1409.1556",
    "licence": "BSD-3-Clause",
}


@dataclass(frozen=True)
class VGGConfig(BackboneConfig):
    """Settings of a VGG.

    Args:
        depth: 16 or 19 layers with weights.
        pooling: "max" as published, or "average" as neural style prefers it.
        form: "classifier"; or features 8 times smaller than the image, whose fifth block is
            dilated: "deeplab", where poolings are 3x3 and the last two keep the resolution, or
            "dilated", where those two are gone. These have no classifier.
        padded: whether convolutions keep the size.
        norms: whether a batch norm follows each convolution, to train without pretrained weights.
    """

    depth: int = 19
    pooling: str = "max"
    form: str = "classifier"
    padded: bool = True
    norms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS or (self.form != "classifier" and self.classes):
            raise ValueError(
                f"expected form {', '.join(FORMS)}, the last two with classes=0, "
                f"got {self.form} and classes={self.classes}"
            )
        if self.depth not in CONVOLUTIONS or self.pooling not in ("max", "average"):
            raise ValueError(
                "expected depth 16 or 19 and pooling max or average, "
                f"got {self.depth} and {self.pooling}"
            )

    @classmethod
    def tiny(cls) -> VGGConfig:
        return cls(width=4, classes=10)


@register(
    "vgg16",
    summary="VGG with 16 layers",
    **CARD,
    defaults={"depth": 16},
)
@register(
    "vgg19",
    summary="VGG with 19 layers",
    **CARD,
    defaults={"depth": 19},
)
class VGG(Backbone):
    """VGG-16 or VGG-19, with nodes conv1_1, relu1_1, ..., pool5."""

    Config = VGGConfig

    def __init__(self, config: VGGConfig) -> None:
        super().__init__(config)
        pool = nn.MaxPool2d if config.pooling == "max" else nn.AvgPool2d
        self.smallest = _smallest(config)
        self.features = nn.Sequential()
        inner, last = 3, []
        for block, count in enumerate(CONVOLUTIONS[config.depth], start=1):
            outer = config.width * min(2 ** (block - 1), 8)
            dilation = 2 if block == 5 and config.form != "classifier" else 1
            padding = dilation if config.padded else 0
            for index in range(1, count + 1):
                # With few channels torch's is as fast, and a choice takes time.
                pays = dilation > 1 or min(inner, outer) >= 256
                ours = pays and config.backend == "pyfast"
                convolution = DilatedConv2d if ours else nn.Conv2d
                self.features.add_module(
                    f"conv{block}_{index}",
                    convolution(inner, outer, 3, padding=padding, dilation=dilation),
                )
                if config.norms:
                    self.features.add_module(f"norm{block}_{index}", nn.BatchNorm2d(outer))
                self.features.add_module(f"relu{block}_{index}", nn.ReLU())
                inner = outer
            if config.form == "deeplab":
                stride = 2 if block < 4 else 1
                wide = pool(3, stride=stride, padding=1, ceil_mode=True)
                self.features.add_module(f"pool{block}", wide)
            elif config.form == "classifier" or block < 4:
                self.features.add_module(f"pool{block}", pool(2))
            last.append(f"relu{block}_{count}")
        self.stages = tuple(last)
        if self.has_classifier():
            hidden = 64 * config.width
            self.pool = nn.AdaptiveAvgPool2d(7)
            self.fc6 = nn.Linear(49 * inner, hidden)
            self.fc7 = nn.Linear(hidden, hidden)
            self.fc8 = nn.Linear(hidden, config.classes)
        self._initialise()

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        return self.features.named_children()

    def classify(self, features: Tensor) -> Tensor:
        value = self.pool(features).flatten(1)
        for layer in (self.fc6, self.fc7):
            value = nn.functional.dropout(torch.relu(layer(value)), training=self.training)
        logits: Tensor = self.fc8(value)
        return logits


def _smallest(config: VGGConfig) -> int:
    """The side of an image of which one feature is left."""
    if config.form == "classifier":
        return 32
    side = 1
    for block, count in reversed([*enumerate(CONVOLUTIONS[config.depth], start=1)]):
        if config.form == "dilated" and block < 4:  # the other form's poolings round up
            side *= 2
        if not config.padded:
            side += 2 * count * (2 if block == 5 else 1)
    return side
