"""DeepLab: atrous convolution, views of several sizes, and a dense CRF for the outlines.

References: Chen, Papandreou, Kokkinos, Murphy, Yuille: Semantic Image Segmentation with Deep
Convolutional Nets and Fully Connected CRFs, 2014, arXiv 1412.7062 (v1); DeepLab, 2016,
arXiv 1606.00915 (v2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyfast.nn import ASPP
from pyfast.zoo.backbones import VGG, ResNet, ResNetConfig, VGGConfig
from pyfast.zoo.registry import register
from pyfast.zoo.segmentation._segmenter import TINY_RECIPE, Preset, Segmenter, SegmenterConfig

V1 = "Chen et al. 2014, arXiv 1412.7062"
V2 = "Chen et al. 2016, arXiv 1606.00915"


@dataclass(frozen=True)
class DeepLabVGGConfig(SegmenterConfig):
    """Settings of DeepLab on VGG-16.

    Args:
        rates: of fc6, one for each branch; the branches are added up after fc8.
        average_pool: whether a mean over 3x3 follows the last pooling, as in v1.
        atrous: whether the last two poolings keep the resolution and what follows is dilated; the
            network without is there to compare with.
        norms: whether the body has batch norms, to train without pretrained weights.
        dropout: probability after fc6 and fc7.
    """

    rates: tuple[int, ...] = (6, 12, 18, 24)
    average_pool: bool = False
    atrous: bool = True
    norms: bool = False
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_batch(self.norms, "norms=False has none")

    @classmethod
    def tiny(cls) -> DeepLabVGGConfig:
        return cls(
            width=8,
            preprocess="imagenet",
            rates=(1, 2, 3, 4),
            norms=True,
            dropout=0.0,
            **TINY_RECIPE,
        )


@register(
    "deeplabv2_vgg16",
    summary="DeepLab v2 on VGG-16: fc6 at four rates",
    task="segmentation",
    paper=V2,
    ops=("dilated_conv", "dense_crf"),
)
class DeepLabVGG(Segmenter):
    """DeepLab on VGG-16: fc6, fc7 and fc8 as convolutions, once for each rate of fc6."""

    Config = DeepLabVGGConfig
    network: Network

    def __init__(self, config: DeepLabVGGConfig) -> None:
        super().__init__(config)
        body = VGG(
            VGGConfig(
                backend=config.backend,
                width=config.width,
                depth=16,
                form="deeplab" if config.atrous else "classifier",
                norms=config.norms,
                classes=0,
            )
        )
        pool = nn.AvgPool2d(3, stride=1, padding=1) if config.average_pool else nn.Identity()
        inner, hidden = 8 * config.width, 16 * config.width
        head = ASPP(
            inner,
            config.classes,
            config.rates,
            hidden_channels=hidden,
            dropout=config.dropout,
            backend=config.backend,
        )
        self.network = Network(nn.Sequential(body, pool), head)

    def multipliers(self) -> dict[str, dict[str, float]]:
        rate = self.config.head_rate
        return {
            "*.fc8.weight": {"lr": rate},
            "*.fc8.bias": {"lr": 2 * rate, "weight_decay": 0},
            "*conv*.bias": {"lr": 2, "weight_decay": 0},
            "*.fc?.bias": {"lr": 2, "weight_decay": 0},
        }


@dataclass(frozen=True)
class DeepLabV1Config(DeepLabVGGConfig):
    """Settings of DeepLab v1: one branch and another recipe."""

    rates: tuple[int, ...] = (12,)
    average_pool: bool = True
    batch_size: int = 20
    steps: int = 6000
    schedule: str = "step"

    @classmethod
    def tiny(cls) -> DeepLabV1Config:
        settings = {"rates": (2,), "average_pool": True, "schedule": "poly", "learning_rate": 0.03}
        return cls(**super().tiny().to_json() | settings)


@register(
    "deeplab_v1",
    summary="DeepLab v1 with a large field of view, on VGG-16",
    task="segmentation",
    paper=V1,
    ops=("dilated_conv", "dense_crf"),
)
class DeepLabV1(DeepLabVGG):
    """DeepLab v1, "LargeFOV": fc6 at rate 12."""

    Config = DeepLabV1Config

    def __init__(self, config: DeepLabV1Config) -> None:
        super().__init__(config)
        # As the body: what four branches add up to has to come from one.
        for name, layer in self.network.head.named_modules():
            if name.endswith(("fc6", "fc7")):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]


class Network(nn.Module):
    """Scores of a body and a head, at one scale or as the maximum over several."""

    body: nn.Module
    head: nn.Module

    def __init__(self, body: nn.Module, head: nn.Module, scales: Sequence[float] = ()) -> None:
        super().__init__()
        self.body, self.head, self.scales = body, head, tuple(scales)

    def forward(self, image: Tensor) -> Any:
        """(B, L, h, w); in training with several scales the scores of each and the maximum."""
        scores = self.head(self.body(image))
        if not self.scales:
            return scores
        smaller = [
            self.head(self.body(F.interpolate(image, scale_factor=scale, mode="bilinear")))
            for scale in self.scales
        ]
        size = scores.shape[-2:]
        enlarged = [F.interpolate(each, size, mode="bilinear") for each in smaller]
        largest = reduce(torch.maximum, enlarged, scores)
        return [scores, *smaller, largest] if self.training else largest


@dataclass(frozen=True)
class DeepLabResNetConfig(SegmenterConfig):
    """Settings of DeepLab on ResNet-101.

    Args:
        depth: of the ResNet, 101 as published, or 50.
        rates: of the branches of the head, which are added up. None: one convolution of 1x1.
        image_scales: smaller copies of the image whose scores compete with its own.
        freeze_norms: whether batch norms keep their statistics and weights in training, which is
            for pretrained weights.
        stride_in_1x1: as published; false for weights of torchvision.
    """

    preprocess: str = "deeplab"
    crf_preset: Preset = "deeplab_v2_resnet101"
    batch_size: int = 5
    accumulate: int = 2
    learning_rate: float = 2.5e-4
    depth: int = 101
    rates: tuple[int, ...] = (6, 12, 18, 24)
    image_scales: tuple[float, ...] = (0.5, 0.75)
    freeze_norms: bool = True
    stride_in_1x1: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.image_scales, default=1) <= 0:
            raise ValueError(f"image_scales: expected positive numbers, got {self.image_scales}")
        self.expect_batch(
            not self.freeze_norms, "freeze_norms=True keeps the statistics of pretrained weights"
        )

    @classmethod
    def tiny(cls) -> DeepLabResNetConfig:
        # The best of five settings on seed 0. At the rate of the body the scores learned nothing.
        recipe = TINY_RECIPE | {"crop": 65, "learning_rate": 0.4, "head_rate": 0.005}
        return cls(width=8, depth=50, accumulate=1, rates=(1, 2, 4), freeze_norms=False, **recipe)


@register(
    "deeplabv2_resnet101",
    summary="DeepLab v2 on ResNet-101, at three scales",
    task="segmentation",
    paper=V2,
    ops=("dilated_conv", "aspp_sum", "dense_crf"),
    licence="MIT",
)
class DeepLabResNet(Segmenter):
    """DeepLab v2 on a ResNet whose last two stages are dilated."""

    Config = DeepLabResNetConfig
    network: Network

    def __init__(self, config: DeepLabResNetConfig) -> None:
        super().__init__(config)
        body = ResNet(
            ResNetConfig(
                backend=config.backend,
                width=config.width,
                depth=config.depth,
                output_stride=8,
                stride_in_1x1=config.stride_in_1x1,
                ceil_mode=True,
                classes=0,
            )
        )
        channels = 32 * config.width
        head: nn.Module
        if config.rates:
            head = ASPP(channels, config.classes, config.rates, backend=config.backend)
        else:
            head = nn.Conv2d(channels, config.classes, 1)
        self.network = Network(body, head, config.image_scales)
        if config.freeze_norms:
            for norm in self._norms():
                norm.requires_grad_(False)

    def multipliers(self) -> dict[str, dict[str, float]]:
        rate = self.config.head_rate
        return {
            "*.head.*weight": {"lr": rate},
            "*.head.*bias": {"lr": 2 * rate, "weight_decay": 0},
        }

    def train(self, mode: bool = True) -> DeepLabResNet:
        super().train(mode)
        if self.config.freeze_norms:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> Iterable[nn.Module]:
        return (module for module in self.modules() if isinstance(module, nn.BatchNorm2d))
