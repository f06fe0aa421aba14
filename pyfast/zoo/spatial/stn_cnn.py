"""Spatial transformers that straighten digits in front of a small classifier.

Reference: Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, 2015,
arXiv 1506.02025, section 4.1 (distorted digits, table 1) and appendix (two digits).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from pyfast.nn import SpatialTransformer
from pyfast.zoo.registry import register
from pyfast.zoo.spatial._classifier import (
    CARD,
    TINY_RECIPE,
    SpatialClassifier,
    SpatialConfig,
    Transform,
    mlp,
)


@dataclass(frozen=True)
class StnCnnConfig(SpatialConfig):
    """Settings of a classifier of digits.

    Args:
        digits: in an image: 1 or 2.
        distortion: of a single digit, a key of `pyfast.data.DISTORTIONS`.
        transformers: how many look at the image in parallel; the classifier sees what all hand on.
        classifier: "cnn", or "fcn" without convolutions.
        width: filters of a convolution of the CNN, or units of a layer of the FCN.
        kernels: sizes of the CNN's two convolutions.
        crop: height and width of what a transformer hands on; 0: those of the image.
        judge: weight of a second loss, not in the paper: that of a linear classifier on a coarse
            view of what is handed on. A CNN learns to read turned digits, and from its loss alone a
            transformer is slow to learn to turn them back.
    """

    digits: int = 1
    distortion: str = "rotation"
    transformers: int = 1
    classifier: str = "cnn"
    width: int = 64
    kernels: tuple[int, int] = (9, 7)
    crop: int = 0
    judge: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("width", "kernels")
        if self.digits not in (1, 2) or self.transformers < 1:
            raise ValueError(
                f"expected digits 1 or 2 and transformers of at least 1, got {self.digits} and "
                f"{self.transformers}"
            )
        if self.classifier not in ("cnn", "fcn"):
            raise ValueError(f"classifier: expected cnn or fcn, got {self.classifier!r}")
        if self.classifier == "cnn":
            view = self.crop if self.crop and self.transform else self.size
            if _left(view, *self.kernels) < 1 or (self.transform and self.size < 28):
                raise ValueError(
                    f"expected size of at least 28 and something left of {view} pixels by "
                    f"convolutions of {self.kernels[0]} and {self.kernels[1]}, got size={self.size}"
                )

    @property
    def places(self) -> int:
        return self.digits

    @classmethod
    def tiny(cls) -> StnCnnConfig:
        return cls(
            distortion="similarity",
            size=32,
            crop=20,
            width=24,
            kernels=(5, 3),
            judge=5.0,
            **TINY_RECIPE,
        )

    @classmethod
    def paper(cls) -> StnCnnConfig:
        return cls(steps=150_000, batch_size=256)


def _left(size: int, first: int, second: int) -> int:
    """The side of what two convolutions of these sizes, each with a pooling, leave of an image."""
    return ((size - first + 1) // 2 - second + 1) // 2


def localisation(config: StnCnnConfig) -> tuple[nn.Module, int]:
    """The paper's localisation network, and how many features it gives."""
    if config.classifier == "fcn":
        return mlp(config.channels * config.size**2, 32, 32, 32), 32
    last = (config.size // 2 - 4) // 2 - 4
    convolutions = nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(config.channels, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 20, 5),
        nn.ReLU(),
    )
    return nn.Sequential(convolutions, mlp(20 * last**2, 20)), 20


def classifier(config: StnCnnConfig, channels: int, size: int) -> nn.Module:
    width, outputs = config.width, config.digits * config.classes
    if config.classifier == "fcn":
        return nn.Sequential(mlp(channels * size**2, width, width), nn.Linear(width, outputs))
    first, second = config.kernels
    last = _left(size, first, second)
    # Pooling first: the same result, with a quarter of the work for the ReLU.
    return nn.Sequential(
        nn.Conv2d(channels, width, first),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(width, width, second),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * last**2, outputs),
    )


class Straightened(nn.Module):
    """Transformers side by side, and the classifier of what they hand on."""

    def __init__(self, config: StnCnnConfig, transform: Transform) -> None:
        super().__init__()
        size, channels = config.crop or config.size, config.transformers * config.channels
        localise, features = localisation(config)
        self.transformer = SpatialTransformer(
            localise,
            size,
            transform,
            in_features=features,
            count=config.transformers,
            backend=config.backend,
        )
        self.classifier = classifier(config, channels, size)
        coarse = nn.Linear(channels * (size // 2) ** 2, config.digits * config.classes)
        self.judge = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), coarse) if config.judge else None

    def forward(self, images: Tensor, judged: bool = False) -> Any:
        """Logits; with `judged` those of the linear classifier as well."""
        views = self.transformer(images).flatten(1, 2)
        logits = self.classifier(views)
        return (logits, self.judge(views)) if judged and self.judge else logits


@register(
    "stn_cnn",
    summary="Spatial transformer before a CNN (or FCN) that reads a distorted digit",
    **CARD,
)
@register(
    "stn_two_digits",
    summary="Two spatial transformers in parallel before a CNN that reads two digits",
    **CARD,
    defaults={"digits": 2, "transformers": 2},
)
class StnCnn(SpatialClassifier):
    """Reads distorted digits; without a transform it is the plain CNN or FCN to compare with."""

    Config = StnCnnConfig
    generated_classes = 10

    def __init__(self, config: StnCnnConfig) -> None:
        super().__init__(config)
        self.network = (
            Straightened(config, config.transform)
            if config.transform
            else classifier(config, config.channels, config.size)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self._by_place(super().forward(images))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        judge = self.config.judge
        if not judge or self.config.transform is None:
            return super().loss(batch)
        images, labels = batch
        own, judged = (self._by_place(logits) for logits in self.network(images, judged=True))
        return self.cross_entropy(own, labels) + judge * self.cross_entropy(judged, labels)

    def generated(self, split: str) -> Dataset[Any]:
        from pyfast.data import DistortedDigits, TwoDigits

        if self.config.digits == 2:
            return TwoDigits(split, self.config.size)
        return DistortedDigits(self.config.distortion, split, self.config.size)

    def _by_place(self, logits: Tensor) -> Tensor:
        return logits.unflatten(1, (2, -1)) if self.config.digits == 2 else logits
