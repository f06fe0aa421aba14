"""A network and a dense CRF, trained as one.

Reference: Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr: Conditional Random Fields
as Recurrent Neural Networks, 2015, arXiv 1502.03240.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast.nn import DenseCRF
from pyfast.zoo.preprocess import Preprocess
from pyfast.zoo.registry import create_model, find, register
from pyfast.zoo.segmentation._segmenter import (
    TINY_RECIPE,
    Preset,
    Segmenter,
    SegmenterConfig,
    set_numbers,
)

if TYPE_CHECKING:
    from pyfast.train.updates import Update


@dataclass(frozen=True)
class CRFRNNConfig(SegmenterConfig):
    """Settings of a CRF that is trained with its network.

    Args:
        base: the system whose network gives the unary scores. The published one is FCN-8s.
        learn: of the CRF: any of "weights", "compatibility", "sigmas".
        crf_rate: what the learning rate is multiplied by for the numbers of the CRF.
        crf_method: "lattice", "closed" or "exact", see `pyfast.dense_crf`.
        train_iterations: of mean field in training.
        iterations: of mean field otherwise.
    """

    base: str = "deeplabv2_vgg16"
    crf: bool = True
    crf_preset: Preset = "crf_rnn"
    learn: tuple[str, ...] = ("weights", "compatibility", "sigmas")
    crf_rate: float = 1.0
    crf_method: Literal["lattice", "closed", "exact"] = "lattice"
    train_iterations: int = 5
    iterations: int = 10
    batch_size: int = 4

    @classmethod
    def tiny(cls) -> CRFRNNConfig:
        return cls(base="deeplabv2_vgg16.tiny", **TINY_RECIPE)


@register(
    "crf_rnn",
    summary="A dense CRF trained end to end with a network",
    task="segmentation",
    paper="Zheng et al. 2015, arXiv 1502.03240",
    ops=("dense_crf", "dilated_conv"),
)
class CRFRNN(Segmenter):
    """Mean field of a dense CRF as the last layers of a network."""

    Config = CRFRNNConfig
    network: Segmenter

    def __init__(self, config: CRFRNNConfig) -> None:
        super().__init__(config)
        base = find(config.base.partition(".")[0]).model
        if not issubclass(base, Segmenter) or issubclass(base, CRFRNN):
            raise ValueError(
                "base: expected a system for segmentation without a CRF that learns, "
                f"got {config.base!r}"
            )
        self.network = create_model(
            config.base,
            device=torch.get_default_device(),
            backend=config.backend,
            classes=config.classes,
            ignore_label=config.ignore_label,
            head_rate=config.head_rate,
            batch_size=config.batch_size,
        )
        self.crf = DenseCRF(
            config.classes,
            config.learn,
            config.crf_preset,
            method=config.crf_method,
            backend=config.backend,
        )
        set_numbers(self.crf, config)
        self.train()

    @property
    def preprocess(self) -> Preprocess:
        return self.network.preprocess

    @property
    def no_onnx(self) -> str:
        if self.config.crf_method == "exact":
            return ""
        return (
            f"crf_method={self.config.crf_method!r} is a lattice that depends on the picture; "
            "'exact' can be written, for small pictures"
        )

    @property
    def free_axes(self) -> tuple[int, ...]:
        return ()  # each pixel meets each other one

    def forward(self, image: Tensor) -> Tensor:
        """Marginals, (B, L, H, W), of a preprocessed image (B, 3, H, W)."""
        scores = self.scores(image)
        return self.crf(-scores, self.preprocess.inverse(image) * 255)

    def loss(self, batch: Any) -> Tensor:
        image, labels = batch
        marginals = self(self.preprocess(image))
        return self.loss_of(torch.log(marginals.clamp(min=1e-8)), labels)

    def scores(self, image: Tensor) -> Tensor:
        """What goes into the CRF, with its sign turned."""
        if not self.training:
            return self.network.scores(image)
        outputs = self.network(image)
        scores = outputs[-1] if isinstance(outputs, list) else outputs
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, 24, 28, device=self.device),)

    def post_processing(self) -> DenseCRF:
        return self.crf

    def train(self, mode: bool = True) -> CRFRNN:
        super().train(mode)
        self.crf.iterations = self.config.train_iterations if mode else self.config.iterations
        return self

    def updates(self) -> Sequence[Update]:
        from pyfast.train import Update

        config = self.config
        factors = {"crf.*": {"lr": config.crf_rate, "weight_decay": 0}} if config.learn else {}
        return [
            Update(
                "network",
                (self.network, self.crf) if config.learn else self.network,
                self.loss,
                self.sgd(config.learning_rate),
                schedule=self.schedule(config.steps),
                accumulate=config.accumulate,
                multipliers=factors | self.network.multipliers(),
            )
        ]
