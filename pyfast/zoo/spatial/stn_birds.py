"""Spatial transformers that cut parts out of a large picture, each described by a network.

Reference: Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, 2015,
arXiv 1506.02025, section 4.3 and appendix (Caltech-UCSD birds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pyfast.nn import SpatialTransformer
from pyfast.zoo.backbones import Inception, InceptionConfig
from pyfast.zoo.registry import register
from pyfast.zoo.spatial._classifier import (
    CARD,
    TINY_RECIPE,
    SpatialClassifier,
    SpatialConfig,
    Transform,
)


@dataclass(frozen=True)
class StnBirdsConfig(SpatialConfig):
    """Settings of a classifier by parts.

    Args:
        transformers: how many parts are looked at.
        scale: height and width of a part over those of the picture; "translation" keeps it.
        width: channels of the first layer of each Inception network, 64 as published.
        last: the last module of each.
        squeeze: channels of the map from which places are predicted.
        dropout: before the classifier.
    """

    transform: Transform | None = "translation"
    classes: int = 200
    size: int = 448
    channels: int = 3
    transformers: int = 2
    scale: float = 0.5
    width: int = 64
    last: str = "5b"
    squeeze: int = 128
    dropout: float = 0.5

    CHANNELS: ClassVar[tuple[int, ...]] = (3,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("transformers", "scale", "width", "squeeze")

    @classmethod
    def tiny(cls) -> StnBirdsConfig:
        return cls(
            classes=16,
            size=64,
            width=8,
            last="3a",
            squeeze=8,
            dropout=0.0,
            **TINY_RECIPE | {"steps": 800},
        )

    @classmethod
    def paper(cls) -> StnBirdsConfig:
        # The paper's networks come from ImageNet with these weights as a start.
        return cls(steps=10_000, batch_size=256, learning_rate=0.1, localisation_rate=1e-4)


def describer(config: StnBirdsConfig) -> Inception:
    """An Inception network that gives its last features."""
    settings = InceptionConfig(config.backend, width=config.width, classes=0, last=config.last)
    return Inception(settings)


class Parts(nn.Module):
    """Places from the picture at half its size; parts cut out of it; a network for each part."""

    def __init__(self, config: StnBirdsConfig, transform: Transform) -> None:
        super().__init__()
        count, look = config.transformers, describer(config)
        localise = nn.Sequential(
            nn.AvgPool2d(2), look, nn.Conv2d(look.channels, config.squeeze, 1), nn.ReLU()
        )
        self.transformer = SpatialTransformer(
            localise,
            round(config.scale * config.size),
            transform,
            in_features=config.squeeze * math.ceil(config.size / 2 / look.stride) ** 2,
            count=count,
            scale=config.scale,
            backend=config.backend,
        )
        self.describers = nn.ModuleList(describer(config) for _ in range(count))
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(count * look.channels, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        parts = self.transformer(images).unbind(1)
        maps = [describe(part) for describe, part in zip(self.describers, parts, strict=True)]
        features = torch.cat([one.mean((-2, -1)) for one in maps], dim=1)
        logits: Tensor = self.classes(self.dropout(features))
        return logits


def whole(config: StnBirdsConfig) -> nn.Module:
    """The network without transformers: one look at the picture at half its size."""
    look = describer(config)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout))
    return nn.Sequential(nn.AvgPool2d(2), look, pool, nn.Linear(look.channels, config.classes))


@register(
    "stn_birds_2x",
    summary="Classifies by two parts that spatial transformers find in a large picture",
    **CARD,
    defaults={"transformers": 2},
)
@register(
    "stn_birds_4x",
    summary="Classifies by four parts that spatial transformers find in a large picture",
    **CARD,
    defaults={"transformers": 4},
)
class StnBirds(SpatialClassifier):
    """Finds parts and describes each; without a transform it looks once at the whole picture."""

    Config = StnBirdsConfig

    def __init__(self, config: StnBirdsConfig) -> None:
        super().__init__(config)
        self.network = Parts(config, config.transform) if config.transform else whole(config)

    def generated(self, split: str) -> Dataset[tuple[Tensor, Tensor]]:
        from pyfast.data import TwoParts

        return TwoParts(split, self.config.size, math.isqrt(self.config.classes))
