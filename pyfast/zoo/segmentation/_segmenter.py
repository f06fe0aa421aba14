"""What systems for segmentation share: settings, losses, the step sizes of Caffe, the verb."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from pyfast.data.label_sets import LABEL_SETS
from pyfast.nn import DenseCRF
from pyfast.zoo.images import expect_images
from pyfast.zoo.preprocess import PREPROCESS, Preprocess
from pyfast.zoo.segmentation.losses import LOSSES, expect_labels
from pyfast.zoo.system import System, TrainingConfig, evaluating

if TYPE_CHECKING:
    from pyfast.data import ScaleCropFlip
    from pyfast.train.updates import Update

SCHEDULES = ("poly", "step")
Preset = Literal["deeplab_v2_resnet101", "deeplab_v2_vgg16", "pydensecrf", "crf_rnn"]
# For generated scenes, in a minute on one core; the CRF's numbers are for their size and noise.
TINY_RECIPE: dict[str, Any] = {
    "classes": 4,
    "crop": 64,
    "steps": 300,
    "batch_size": 8,
    "learning_rate": 0.1,
    "head_rate": 1.0,
    "crf_sigmas": (8.0, 25.0, 1.0),
    "crf_weights": (5.0, 1.0),
}


@dataclass(frozen=True)
class SegmenterConfig(TrainingConfig):
    """Settings of a system for segmentation.

    Args:
        classes: how many labels there are.
        labels: their names, or none.
        palette: their colours in pictures, a key of `pyfast.data.LABEL_SETS`.
        ignore_label: of pixels that have no part in losses and metrics; it may be one of the
            classes.
        width: channels of the first stage of the backbone, 64 as published.
        preprocess: what the weights expect, a key of `PREPROCESS`.
        crf: whether `segment` refines by a dense CRF.
        crf_preset: its numbers, as `nn.DenseCRF` has them.
        crf_sigmas: in place of the preset's: of places in pixels and of colours in 0 to 255 of the
            bilateral kernel, and of the Gaussian. Empty: the preset's.
        crf_weights: likewise, of both kernels.
        data: folder with pictures and masks, see `pyfast.data.segmentation_folder`; none: scenes
            that are generated.
        crop: side of training images in pixels.
        scales: factors of which one is drawn for each image before it is cropped.
        loss: "cross_entropy", "dice" or "lovasz".
        accumulate: batches that give one step, Caffe's `iter_size`.
        learning_rate: of the weights of the backbone. Of biases of its convolutions it is twice
            that, without decay.
        head_rate: what both are multiplied by in the layers that give the scores.
        momentum: of SGD.
        weight_decay: of SGD.
        schedule: "poly": (1 - step / steps) ** power; "step": a tenth after each third of the
            steps.
        power: of "poly".
        schedule_every: steps after which "poly" changes.
    """

    classes: int = 21
    labels: tuple[str, ...] = ()
    palette: str = "voc"
    ignore_label: int = 255
    width: int = 64
    preprocess: str = "deeplab"
    crf: bool = False
    crf_preset: Preset = "deeplab_v2_vgg16"
    crf_sigmas: tuple[float, ...] = ()
    crf_weights: tuple[float, ...] = ()
    data: str = ""
    crop: int = 321
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    loss: str = "cross_entropy"
    batch_size: int = 10
    accumulate: int = 1
    steps: int = 20_000
    learning_rate: float = 1e-3
    head_rate: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "poly"
    power: float = 0.9
    schedule_every: int = 10

    SIGNED: ClassVar[tuple[str, ...]] = ("ignore_label", "crf_weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 2 or (self.labels and len(self.labels) != self.classes):
            raise ValueError(
                "expected at least 2 classes and a label for each or none, "
                f"got classes={self.classes} and {len(self.labels)} labels"
            )
        self.expect_positive(
            "width", "crop", "scales", "crf_sigmas", "accumulate", "schedule_every"
        )
        if not self.scales:
            raise ValueError("scales: expected one or more, got none")
        if len(self.crf_sigmas) not in (0, 3) or len(self.crf_weights) not in (0, 2):
            raise ValueError(
                "expected 3 crf_sigmas and 2 crf_weights, or none, got "
                f"{self.crf_sigmas} and {self.crf_weights}"
            )
        for name, known in (
            ("preprocess", PREPROCESS),
            ("loss", LOSSES),
            ("schedule", SCHEDULES),
            ("palette", LABEL_SETS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}"
                )

    def expect_batch(self, norms_learn: bool, otherwise: str) -> None:
        """Raises where batch norms would learn from one picture at a time.

        Args:
            norms_learn: whether there are batch norms that learn.
            otherwise: the setting without them, for the text.

        Raises:
            ValueError: with the setting.
        """
        if norms_learn and self.batch_size < 2:
            raise ValueError(
                f"expected batch_size >= 2 where batch norms learn, got 1: {otherwise}"
            )


class Segmenter(System):
    """A network that scores labels, what trains it, and `segment`.

    Subclasses set `self.network`, whose call gives scores (B, L, h, w), or in training a list of
    such, each with a loss of its own.
    """

    network: nn.Module
    config: Any

    @property
    def preprocess(self) -> Preprocess:
        """From red, green, blue in [0, 1] to what `forward` takes."""
        return PREPROCESS[self.config.preprocess]

    def forward(self, image: Tensor) -> Any:
        """Scores (B, L, h, w), not yet of the image's size; in training perhaps a list.

        Args:
            image: preprocessed, (B, 3, H, W).
        """
        return self.network(image)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, 65, 65, device=self.device),)

    @property
    def free_axes(self) -> tuple[int, ...]:
        return (2, 3)

    def scores(self, image: Tensor) -> Tensor:
        """Scores of the image's size, (B, L, H, W), of what `forward` takes."""
        found: Tensor = F.interpolate(self(image), image.shape[-2:], mode="bilinear")
        return found

    def probabilities(
        self,
        image: Tensor,
        *,
        crf: bool | DenseCRF | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> Tensor:
        """Probabilities of labels, (B, L, H, W), in evaluation mode and without gradients.

        Args:
            image: red, green, blue in [0, 1], (B, 3, H, W), of any size.
            crf: whether a dense CRF refines the result, or which one; None: as the config says.
            scales: of copies of the image, over whose probabilities the mean is taken.
            flip: whether mirrored copies take part too.

        Raises:
            TypeError: no tensor of floats; `crf` is neither.
            ValueError: no images of three channels, or smaller than the network takes; no scale, or
                one that is not positive.
        """
        expect_images(self, image, 3)
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales: expected positive numbers, got {tuple(scales)}")
        with evaluating(self):
            inputs = self.preprocess(image).to(next(self.parameters()).dtype)
            copies = [
                self._copy_probabilities(inputs, scale, mirrored)
                for scale in scales
                for mirrored in ((False, True) if flip else (False,))
            ]
            return self.refine(torch.stack(copies).mean(0), image, crf)

    def refine(
        self, probabilities: Tensor, image: Tensor, crf: bool | DenseCRF | None = None
    ) -> Tensor:
        """Probabilities (B, L, H, W) after the dense CRF, if there is to be one; without gradients.

        Args:
            probabilities: (B, L, H, W).
            image: red, green, blue in [0, 1], (B, 3, H, W).
            crf: as for `probabilities`.

        Raises:
            TypeError: `crf` is neither.
        """
        crf = self.config.crf if crf is None else crf
        if not isinstance(crf, bool | DenseCRF):
            raise TypeError(f"crf: expected a bool or an nn.DenseCRF, got {crf!r}")
        if not crf:
            return probabilities
        with evaluating(self):
            layer = crf if isinstance(crf, DenseCRF) else self.post_processing()
            exact = torch.promote_types(probabilities.dtype, torch.float32)
            energies = -probabilities.to(exact).clamp(min=1e-8).log()
            refined: Tensor = layer(energies, image.to(exact) * 255)
        return refined.to(probabilities.dtype)

    def segment(self, image: Tensor, **options: Any) -> Tensor:
        """The likeliest label of each pixel, int64 (B, H, W); arguments as of `probabilities`."""
        return self.probabilities(image, **options).argmax(1)

    def post_processing(self) -> DenseCRF:
        """The dense CRF of the config, which has nothing to learn."""
        config = self.config
        crf = DenseCRF(config.classes, (), config.crf_preset)
        set_numbers(crf, config)
        return crf.to(self.device)

    def _copy_probabilities(self, inputs: Tensor, scale: float, mirrored: bool) -> Tensor:
        size = inputs.shape[-2:]
        if scale != 1:
            sides = [max(1, round(side * scale)) for side in size]
            inputs = F.interpolate(inputs, sides, mode="bilinear", antialias=scale < 1)
        scores = self.scores(inputs.flip(-1) if mirrored else inputs)
        scores = scores.flip(-1) if mirrored else scores
        if scores.shape[-2:] != size:
            scores = F.interpolate(scores, size, mode="bilinear")
        return scores.softmax(1)

    def loss(self, batch: Any) -> Tensor:
        """The sum of the losses of everything that `forward` gives, each at its resolution."""
        image, labels = batch
        outputs = self(self.preprocess(image))
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return torch.stack([self.loss_of(scores, labels) for scores in outputs]).sum()

    def loss_of(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of the config, of scores (B, L, h, w) and labels (B, H, W)."""
        function = LOSSES[self.config.loss]
        return function(scores, self.labels_at(labels, scores), self.config.ignore_label)

    def labels_at(self, labels: Tensor, scores: Tensor) -> Tensor:
        """Labels (B, H, W) at the resolution of scores (B, L, h, w)."""
        small = F.interpolate(labels[:, None].float(), scores.shape[-2:], mode="nearest-exact")
        return small[:, 0].long()

    def updates(self) -> Sequence[Update]:
        from pyfast.train.updates import Update

        config = self.config
        return [
            Update(
                "network",
                self.network,
                self.loss,
                self.sgd(config.learning_rate),
                schedule=self.schedule(config.steps),
                accumulate=config.accumulate,
                multipliers=self.multipliers(),
            )
        ]

    def multipliers(self) -> dict[str, dict[str, float]]:
        """Rates of biases and of the head over those of other weights, as Caffe's recipes do it."""
        return {}

    def sgd(self, rate: float) -> Callable[[Any], SGD]:
        """What makes the optimiser of the config."""
        config = self.config
        return partial(SGD, lr=rate, momentum=config.momentum, weight_decay=config.weight_decay)

    def schedule(self, steps: int) -> Callable[[Optimizer], LambdaLR]:
        """Of the learning rate over so many steps, as the config has it."""
        from pyfast.train import schedules

        config = self.config
        if config.schedule == "step":
            return schedules.step(steps // 3, 2 * steps // 3)
        return schedules.poly(steps, config.power, config.schedule_every)

    def dataset(self, split: str = "train") -> Dataset[Any]:
        """Pictures (3, H, W) in [0, 1] with labels (H, W): the config's folder, or scenes.

        Files of the folder, those for tests too, are all read once for training, so that mistakes
        in them are known before it starts.
        """
        from pyfast.data import Augmented, Scenes, segmentation_folder

        config = self.config
        if not config.data:
            if config.classes < len(Scenes.labels):
                raise ValueError(
                    f"expected data, a folder: the generated scenes have {len(Scenes.labels)} "
                    f"labels, got classes={config.classes}"
                )
            return Scenes(split, config.crop)
        folder_of = partial(
            segmentation_folder,
            config.data,
            classes=config.classes,
            ignore_label=config.ignore_label,
        )
        folder = folder_of(split=split)
        if split == "test":
            return folder
        for each in (folder, folder_of(split="test")):
            each.check()
        return Augmented(folder, self.transform())

    def transform(self, **options: Any) -> ScaleCropFlip:
        """What happens to a picture before it is learned from."""
        from pyfast.data import ScaleCropFlip

        config = self.config
        return ScaleCropFlip(
            config.crop,
            config.scales,
            fill=self.preprocess.mean,
            ignore_label=config.ignore_label,
            **options,
        )

    def evaluate(self, batches: Iterable[Any], **options: Any) -> dict[str, float]:
        """Mean IoU over classes that occur, IoU of each, and the share of pixels that are right.

        A class that is ignored has no IoU.

        Args:
            batches: pictures and labels, stacked or as a list of pairs of any sizes.
            options: as `probabilities` takes them.

        Raises:
            ValueError: a label that is none of the classes and not ignored.
        """
        config, count = self.config, self.config.classes
        total = torch.zeros(count, count, dtype=torch.int64)
        for batch in batches:
            stacked = batch[0].__class__ is Tensor
            pairs = [batch] if stacked else [(image[None], labels[None]) for image, labels in batch]
            for image, labels in pairs:
                found = self.segment(image.to(self.device), **options).cpu()
                labelled = labels.cpu() != config.ignore_label
                expect_labels(labels, count, config.ignore_label)
                truth, found = labels.cpu()[labelled], found[labelled]
                total += (truth * count + found).bincount(minlength=count**2).view_as(total)
        right, union = total.diag(), total.sum(0) + total.sum(1) - total.diag()
        iou = right / union
        if 0 <= config.ignore_label < count:
            iou[config.ignore_label] = math.nan
        names = config.labels or [str(number) for number in range(config.classes)]
        return {
            "miou": iou.nanmean().item(),
            "accuracy": (right.sum() / total.sum()).item(),
            **{f"iou {n}": v.item() for n, v in zip(names, iou, strict=True) if v == v},
        }

    def pictures(self) -> dict[str, Tensor]:
        """Generated scenes beside their labels and what the network finds."""
        from pyfast.data import Scenes, colour_labels

        if self.config.data:
            return {}
        scenes = Scenes("test", self.config.crop)
        pairs = [scenes[index] for index in range(8)]
        image, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
        found = self.segment(image.to(self.device)).cpu()
        shown = (colour_labels(each, self.config.palette) for each in (labels, found))
        colours = [each.float() / 255 for each in shown]
        return {"scene, labels, found": torch.cat([image, *colours], 3)}


@torch.no_grad()
def set_numbers(crf: DenseCRF, config: SegmenterConfig) -> None:
    """Puts the config's sigmas and weights, where it has any, in the place of the preset's."""
    if config.crf_sigmas:
        crf.log_sigmas.copy_(torch.tensor(config.crf_sigmas).log())
    if config.crf_weights:
        crf.weights.copy_(torch.tensor(config.crf_weights))
