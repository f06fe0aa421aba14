"""What classifiers with spatial transformers share: cross-entropy, one optimiser, accuracy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.utils.data import Dataset

from pyfast.data import ClassificationFolder
from pyfast.train import Update, schedules
from pyfast.zoo.images import expect_images
from pyfast.zoo.system import System, TrainingConfig, evaluating

# What the registered names share.
CARD: dict[str, Any] = {
    "task": "classification",
    "paper": "Jaderberg et al. 2015, arXiv 1506.02025",
    "ops": ("affine_grid_sample", "homography_grid_sample", "grid_sample"),
}
OPTIMIZERS = {"sgd": SGD, "adamw": AdamW}
Transform = Literal["affine", "attention", "translation", "similarity", "projective", "tps"]
TINY_RECIPE: dict[str, Any] = {
    "steps": 1000,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "localisation_rate": 0.3,
    "warm_up": 0.1,
    "drops": (0.7, 0.9),
}


@dataclass(frozen=True)
class SpatialConfig(TrainingConfig):
    """Settings of a classifier with spatial transformers.

    Args:
        transform: the family that is predicted, as `nn.SpatialTransformer` names them: "affine",
            "attention", "translation", "similarity", "projective" or "tps"; None leaves all
            transformers out.
        classes: how many classes there are.
        labels: their names; none: their numbers.
        data: a folder with a folder of pictures for each class, see
            `pyfast.data.ClassificationFolder`; none: pictures that are generated.
        size: height and width of an image in pixels.
        channels: of an image, 1 (grey) or 3.
        optimizer: "sgd", as published, or "adamw", which needs fewer steps.
        learning_rate: at the beginning.
        localisation_rate: factor of the learning rate of the spatial transformers.
        warm_up: part of the run in which the learning rate rises to that.
        drops: parts of the run after which the learning rate is a tenth of what it was.
    """

    transform: Transform | None = "affine"
    classes: int = 10
    labels: tuple[str, ...] = ()
    data: str = ""
    size: int = 28
    channels: int = 1
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    localisation_rate: float = 1.0
    warm_up: float = 0.0
    drops: tuple[float, ...] = (1 / 3, 2 / 3)

    CHANNELS: ClassVar[tuple[int, ...]] = (1, 3)  # that an image may have

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("transform", (*get_args(Transform), None)),
            ("optimizer", (*OPTIMIZERS,)),
            ("channels", self.CHANNELS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")
        self.expect_positive("classes", "size")
        if len(self.labels) not in (0, self.classes) or (self.data and not self.labels):
            raise ValueError(
                f"labels: expected the names of {self.classes} classes"
                f"{' in ' + self.data if self.data else ''}, got {len(self.labels)}; "
                "pyfast.data.class_names(folder) finds them"
            )
        if self.data and self.places != 1:
            raise ValueError(
                f"data: a picture in a folder has one label, and the model gives {self.places}"
            )

    @property
    def places(self) -> int:
        """How many labels an image has."""
        return 1


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers of these widths, each followed by a ReLU, on flattened input."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers)


class SpatialClassifier(System):
    """Tells what is in an image; `network` gives logits, (B, classes) or (B, places, classes).

    Attributes:
        network: images (B, C, H, W) in [0, 1] to logits.
        labels: names of the classes; an empty one stands for nothing at that place.
    """

    network: nn.Module
    generated_classes: ClassVar[int] = 0  # of generated images; 0: as many as the config has

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels or tuple(map(str, range(self.config.classes)))

    @abstractmethod
    def generated(self, split: str) -> Dataset[Any]:
        """Images and labels that are made from what ships in packages."""

    def dataset(self, split: str = "train") -> Dataset[Any]:
        """Images (C, size, size) in [0, 1] and labels: the config's folder, or generated ones.

        Files of the folder, those for tests too, are all read once for training, so that mistakes
        in them are known before it starts.
        """
        config = self.config
        if not config.data:
            if config.classes < self.generated_classes:
                raise ValueError(
                    f"expected data, a folder: the generated images have {self.generated_classes} "
                    f"classes, got classes={config.classes}"
                )
            pictures = self.generated(split)
            channels = len(pictures[0][0])
            if config.channels != channels:
                raise ValueError(
                    f"expected channels={channels}, which the generated images have, or data, a "
                    f"folder, got channels={config.channels}"
                )
            return pictures
        form = config.size, config.channels, config.labels
        folder = ClassificationFolder(config.data, split, *form)
        if split == "train":
            for each in (folder, ClassificationFolder(config.data, "test", *form)):
                each.check()
        return folder

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, classes) or (B, places, classes).

        Args:
            images: (B, C, size, size) in [0, 1].

        Raises:
            TypeError: no tensor of floats.
            ValueError: images of another shape.
        """
        channels, size = self.config.channels, self.config.size
        expect_images(self, images, channels, size)
        logits: Tensor = self.network(images)
        return logits

    def classify(self, images: Tensor) -> Tensor:
        """Probabilities, (B, classes) or (B, places, classes), in evaluation mode."""
        with evaluating(self):
            probabilities: Tensor = self(images).softmax(-1)
        return probabilities

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return self.cross_entropy(self(images), labels)

    @staticmethod
    def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over images and places."""
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten())

    def updates(self) -> Sequence[Update]:
        config = self.config
        slow = {"*transformer*": {"lr": config.localisation_rate}} if config.transform else None
        optimizer = partial(OPTIMIZERS[config.optimizer], lr=config.learning_rate)
        schedule = schedules.factor(self._rate)
        network = self.network
        return [
            Update("network", network, self.loss, optimizer, schedule=schedule, multipliers=slow)
        ]

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """The part of images of which all labels are right."""
        right, count = 0, 0
        for images, labels in batches:
            found = self.classify(images).argmax(-1)
            right += int((found == labels.view_as(found)).view(len(labels), -1).all(1).sum())
            count += len(labels)
        return {"accuracy": right / count}

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        channels, size = self.config.channels, self.config.size
        return (torch.rand(batch, channels, size, size, device=self.device),)

    def _rate(self, step: int) -> float:
        """The learning rate over that of the config."""
        config = self.config
        part = (step + 1) / config.steps
        drops = sum(part > drop for drop in config.drops)
        rise = min(1.0, part / config.warm_up) if config.warm_up else 1.0
        return float(rise * 0.1**drops)
