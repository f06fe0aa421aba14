"""DilatedNet: a dense front end, and a module of dilated convolutions that adds context.

Reference: Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, 2016,
arXiv 1511.07122.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyfast.data import mirrored
from pyfast.nn import ContextModule, DilatedConv2d
from pyfast.zoo.backbones import VGG, VGGConfig
from pyfast.zoo.images import expect_images
from pyfast.zoo.registry import register
from pyfast.zoo.segmentation._segmenter import (
    TINY_RECIPE,
    Segmenter,
    SegmenterConfig,
)
from pyfast.zoo.system import evaluating

if TYPE_CHECKING:
    from pyfast.train.updates import Update

CARD: dict[str, Any] = {
    "task": "segmentation",
    "paper": "Yu, Koltun 2016, arXiv 1511.07122",
    "licence": "MIT",
}
MARGIN = 186  # pixels that the front end without padding loses on each side
STRIDE = 8


@dataclass(frozen=True)
class DilatedNetConfig(SegmenterConfig):
    """Settings of DilatedNet.

    Training has up to three stages: the front end learns alone, then the context module on its
    scores, then both. `learning_rate` belongs to the first.

    Args:
        context: "", "basic" or "large".
        padding: of the context module, "front" as for Pascal VOC, or "layer".
        depth: layers of the context module.
        padded: whether the front end pads with zeros, as for ADE20K; if not, an image gets a margin
            that mirrors it.
        norms: whether the front end has batch norms, to train without pretrained weights.
        dropout: probability after fc6 and fc7.
        upsampling: "zoom", between scores at every eighth pixel, or "deconvolution".
        train_upsampling: whether the deconvolution learns; it starts as bilinear interpolation and
            stays that as published.
        front_end_steps: of the first stage; 0 where its weights are loaded.
        joint_steps: of the third; the second has the rest.
        context_rate: learning rate of the second stage.
        context_accumulate: batches of a step of the second stage, for each of the other stages'.
            Published are 60 images beside 14; 4 batches of 14 come nearest.
        joint_rate: of the third.
    """

    preprocess: str = "dilation_voc"
    crop: int = 500
    batch_size: int = 14
    steps: int = 60_000
    learning_rate: float = 1e-3
    head_rate: float = 1.0
    schedule: str = "step"
    context: Literal["", "basic", "large"] = ""
    padding: Literal["front", "layer"] = "front"
    depth: int = 8
    padded: bool = False
    norms: bool = False
    dropout: float = 0.5
    upsampling: str = "zoom"
    train_upsampling: bool = False
    front_end_steps: int = 30_000
    joint_steps: int = 0
    context_rate: float = 1e-3
    context_accumulate: int = 4
    joint_rate: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("depth", "context_accumulate")
        self.expect_batch(self.norms, "norms=False has none")
        if self.upsampling not in ("zoom", "deconvolution"):
            raise ValueError(f"upsampling: expected zoom, deconvolution, got {self.upsampling!r}")
        if self.train_upsampling and self.upsampling == "zoom":
            raise ValueError("train_upsampling: expected upsampling='deconvolution', got 'zoom'")
        if not self.padded and (self.crop <= 2 * MARGIN or (self.crop - 2 * MARGIN) % STRIDE):
            raise ValueError(
                f"crop: expected {2 * MARGIN} and a multiple of {STRIDE}, got {self.crop}"
            )
        if self.context and self.front_end_steps + self.joint_steps > self.steps:
            raise ValueError(
                f"expected front_end_steps and joint_steps within the {self.steps} steps, got "
                f"{self.front_end_steps} and {self.joint_steps}"
            )

    @property
    def margin(self) -> int:
        """Pixels on each side of an image for which there are no scores."""
        return 0 if self.padded else MARGIN

    @classmethod
    def tiny(cls) -> DilatedNetConfig:
        return cls(
            preprocess="imagenet",
            width=4,
            padded=True,
            norms=True,
            dropout=0.0,
            schedule="poly",
            front_end_steps=200,
            context_rate=0.01,
            context_accumulate=1,
            **TINY_RECIPE,
        )


class FrontEnd(nn.Module):
    """VGG-16 with dilations 2 and 4 where two poolings were; scores at every eighth pixel."""

    def __init__(self, config: DilatedNetConfig) -> None:
        super().__init__()
        self.body = VGG(
            VGGConfig(
                backend=config.backend,
                width=config.width,
                depth=16,
                form="dilated",
                padded=config.padded,
                norms=config.norms,
                classes=0,
            )
        )
        convolution = DilatedConv2d if config.backend == "pyfast" else nn.Conv2d
        hidden = 64 * config.width
        padding = 12 if config.padded else 0
        self.fc6 = convolution(8 * config.width, hidden, 7, padding=padding, dilation=4)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.final = nn.Conv2d(hidden, config.classes, 1)
        nn.init.normal_(self.final.weight, std=0.001)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, image: Tensor) -> Tensor:
        value = self.body(image)
        for layer in (self.fc6, self.fc7):
            value = self.dropout(F.relu(layer(value)))
        scores: Tensor = self.final(value)
        return scores


@register(
    "dilatednet_frontend",
    summary="DilatedNet's front end, a dense VGG-16",
    **CARD,
    ops=("dilated_conv", "dense_crf"),
)
@register(
    "dilatednet_context_basic",
    summary="DilatedNet with the basic context module on a fixed front end",
    **CARD,
    ops=("dilated_conv", "context_module", "dense_crf"),
    defaults={"context": "basic", "padding": "layer"},
)
@register(
    "dilatednet_context_large",
    summary="DilatedNet with the large context module on a fixed front end",
    **CARD,
    ops=("dilated_conv", "context_module", "dense_crf"),
    defaults={"context": "large"},
)
class DilatedNet(Segmenter):
    """Front end, context module and up-sampling, trained in stages."""

    Config = DilatedNetConfig

    def __init__(self, config: DilatedNetConfig) -> None:
        super().__init__(config)
        self.network = FrontEnd(config)
        self.context: nn.Module = nn.Identity()
        if config.context:
            self.context = ContextModule(
                config.classes,
                config.context,
                config.padding,
                depth=config.depth,
                backend=config.backend,
            )
        self.upsampling: nn.Module = nn.Identity()
        if config.upsampling == "deconvolution":
            self.upsampling = bilinear_upsampling(config.classes, STRIDE)
            self.upsampling.requires_grad_(config.train_upsampling)

    def forward(self, image: Tensor) -> Tensor:
        """Scores, (B, L, h, w), of a preprocessed image with its margin, (B, 3, H, W).

        h is (H - 372) / 8 where the front end does not pad, else H / 8; eight times that with
        the deconvolution.
        """
        expect_images(self, image, 3, smallest=2 * self.config.margin + STRIDE)
        scores: Tensor = self.upsampling(self.context(self.network(image)))
        return scores

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        side = 64 if self.config.padded else 2 * MARGIN + 16
        return (torch.randn(batch, 3, side, side, device=self.device),)

    def scores(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        zoom = self.config.upsampling == "zoom"
        # The last pixels lie between two scores.
        rows, columns = (math.ceil(side / STRIDE) + zoom for side in (height, width))
        margin = self.config.margin
        right, bottom = (margin + columns * STRIDE - width, margin + rows * STRIDE - height)
        scores = self(mirrored(image, (margin, right, margin, bottom)))
        if zoom:
            size = [STRIDE * (side - 1) + 1 for side in (rows, columns)]
            probabilities = F.interpolate(
                scores.softmax(1), size, mode="bilinear", align_corners=True
            )
            scores = probabilities.clamp(min=1e-12).log()
        return scores[..., :height, :width]

    def labels_at(self, labels: Tensor, scores: Tensor) -> Tensor:
        margin = self.config.margin
        height, width = labels.shape[1:]
        inner = labels[:, margin : height - margin, margin : width - margin]
        step = max(1, round(inner.shape[2] / scores.shape[3]))
        return inner[:, ::step, ::step][:, : scores.shape[2], : scores.shape[3]]

    def updates(self) -> Sequence[Update]:
        config = self.config
        if not config.context:
            end = (config.steps, config.steps)
        else:
            end = (config.front_end_steps, config.steps - config.joint_steps)
        last = (self.upsampling,) if config.train_upsampling else ()
        everything = (self.network, self.context, *last)
        front = partial(self.stage_loss, "front end")
        context = partial(self.stage_loss, "context")
        stages = [
            self._stage("front end", self.network, front, config.learning_rate, 0, end[0]),
            self._stage("context", self.context, context, config.context_rate, *end),
            self._stage("joint", everything, self.loss, config.joint_rate, end[1], config.steps),
        ]
        return [update for update in stages if update is not None]

    def _stage(
        self, name: str, modules: Any, loss: Any, rate: float, start: int, end: int
    ) -> Update | None:
        from pyfast.train import Update

        if start >= end:
            return None
        config, is_context = self.config, name == "context"
        biases = ["*layers.*.bias"] if is_context else ["*conv*.bias", "*.f*.bias"]
        return Update(
            name,
            modules,
            loss,
            self.sgd(rate),
            when=lambda step: start <= step < end,
            schedule=self.schedule(end - start),
            accumulate=config.accumulate * (config.context_accumulate if is_context else 1),
            multipliers={pattern: {"lr": 2, "weight_decay": 0} for pattern in biases},
        )

    def transform(self, **options: Any) -> Any:
        return super().transform(margin=self.config.margin, **options)

    def stage_loss(self, name: str, batch: Any) -> Tensor:
        """Of the scores of the front end alone, or of the context module on fixed ones."""
        image, labels = batch
        inputs = self.preprocess(image)
        if name == "front end":
            return self.loss_of(self.network(inputs), labels)
        with evaluating(self.network):
            scores = self.network(inputs)
        return self.loss_of(self.context(scores), labels)


@dataclass(frozen=True)
class DilatedNet8Config(DilatedNetConfig):
    """Settings of the whole of DilatedNet, with all three stages."""

    context: Literal["", "basic", "large"] = "large"
    front_end_steps: int = 20_000
    joint_steps: int = 20_000

    @classmethod
    def tiny(cls) -> DilatedNet8Config:
        stages = {"context": "basic", "joint_steps": 50, "joint_rate": 0.01}
        return cls(**DilatedNetConfig.tiny().to_json() | stages)


@register(
    "dilatednet8",
    summary="DilatedNet for Pascal VOC: front end and large context module, trained together",
    **CARD,
    ops=("dilated_conv", "context_module", "dense_crf"),
)
class DilatedNet8(DilatedNet):
    """All of DilatedNet."""

    Config = DilatedNet8Config


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear interpolation of each channel."""
    layer = nn.ConvTranspose2d(
        channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False
    )
    place = (torch.arange(2 * factor) + 0.5) / factor - 1
    hat = 1 - place.abs()
    with torch.no_grad():
        layer.weight.copy_(hat[:, None] * hat)
    return layer
