"""What backbones share: a chain of named steps, whose results are features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyfast.zoo.images import expect_images
from pyfast.zoo.preprocess import PREPROCESS, Preprocess
from pyfast.zoo.registry import nearest
from pyfast.zoo.system import Config, Model


@dataclass(frozen=True)
class BackboneConfig(Config):
    """Settings of a backbone.

    Args:
        width: channels of the first stage.
        classes: outputs of the classifier; 0 leaves it out.
        preprocess: what the weights expect, a key of `PREPROCESS`.
        features_only: leave out the classifier and return a list of stages.
        out_indices: which stages that list has; empty: all.
    """

    width: int = 64
    classes: int = 1000
    preprocess: str = "imagenet"
    features_only: bool = False
    out_indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("width")
        if self.classes < 0:
            raise ValueError(f"classes: expected no negative number, got {self.classes}")
        if self.preprocess not in PREPROCESS:
            raise ValueError(
                f"preprocess: expected one of {', '.join(PREPROCESS)}, got {self.preprocess!r}"
            )


class Backbone(Model):
    """A classifier whose inner results have names.

    Attributes:
        stages: node names, the last of every resolution.
        smallest: height and width that an image must have at least.
    """

    stages: tuple[str, ...]
    smallest = 32

    @abstractmethod
    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        """The body, in order: a node's name and what makes it of the one before."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of the last features."""

    @property
    def preprocess(self) -> Preprocess:
        """From red, green, blue in [0, 1] to what `forward` takes."""
        return PREPROCESS[self.config.preprocess]

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, 64, 64, device=self.device),)

    def feature_nodes(self) -> list[str]:
        """Names that `forward_features` knows, from the image to the top."""
        return [name for name, _ in self.steps()]

    def forward_features(self, image: Tensor, nodes: Sequence[str]) -> dict[str, Tensor]:
        """Features by name; nothing beyond the deepest is computed.

        Args:
            image: preprocessed, (B, 3, H, W).
            nodes: names of `feature_nodes`, such as `relu4_2`.

        Returns:
            For every node its features (B, C, h, w), in the order of the network.

        Raises:
            TypeError: no tensor of floats.
            ValueError: an unknown node, with the nearest names; no images of three channels.
        """
        known = self.feature_nodes()
        for node in nodes:
            if node not in known:
                raise ValueError(
                    f"{type(self).__name__} has no node {node!r}{nearest(node, known)}"
                )
        expect_images(self, image, 3)
        missing, found, value = set(nodes), {}, image
        for name, step in self.steps():
            if not missing:
                break
            value = step(value)
            if name in missing:
                missing.remove(name)
                found[name] = value
        return found

    def forward(self, image: Tensor) -> Any:
        """Logits (B, classes); without a classifier the last features; or the list of stages.

        Args:
            image: preprocessed, (B, 3, H, W).

        Raises:
            TypeError: no tensor of floats.
            ValueError: no images of three channels, or too small for the network.
        """
        expect_images(self, image, 3, smallest=self.smallest)
        config = self.config
        if config.features_only:
            indices = config.out_indices or range(len(self.stages))
            features = self.forward_features(image, [self.stages[index] for index in indices])
            return [features[self.stages[index]] for index in indices]
        last = self.feature_nodes()[-1]
        value = self.forward_features(image, [last])[last]
        return self.classify(value) if config.classes else value

    def has_classifier(self) -> bool:
        return bool(self.config.classes) and not self.config.features_only

    def _initialise(self) -> None:
        for index in self.config.out_indices:
            if not 0 <= index < len(self.stages):
                raise ValueError(
                    f"out_indices: expected numbers from 0 to {len(self.stages) - 1}, got {index}"
                )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)
