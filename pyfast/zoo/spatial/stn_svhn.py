"""A network that reads house numbers, with one spatial transformer or one before several layers.

Reference: Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, 2015,
arXiv 1506.02025, section 4.2 and appendix. The network without transformers is that of Goodfellow
et al.: Multi-digit Number Recognition from Street View Imagery, 2013, arXiv 1312.6082.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class StnSvhnConfig(SpatialConfig):
    """Settings of a reader of house numbers; its classes are ten digits and "nothing there".

    Args:
        transformers: how many there are: 1 looks at the image through convolutions of its own,
            more stand before that many of the first convolutions, with linear layers of their own.
        places: the most digits a number has; each has a softmax.
        widths: channels of the convolutions; after every second one the resolution is halved.
        hidden: units of the linear layers behind them.
        localisation: units of the layers of localisation networks.
        dropout: after each convolution but the first and each linear layer.
    """

    classes: int = 11
    size: int = 64
    channels: int = 3
    transformers: int = 1
    places: int = 5
    widths: tuple[int, ...] = (48, 64, 128, 160, 192, 192, 192, 192)
    hidden: tuple[int, ...] = (3072, 3072, 3072)
    localisation: int = 32
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("places", "widths", "hidden", "localisation")
        if not 1 <= self.transformers <= len(self.widths):
            raise ValueError(
                f"transformers: expected 1 to {len(self.widths)}, as many as there are "
                f"convolutions, got {self.transformers}"
            )

    @classmethod
    def tiny(cls) -> StnSvhnConfig:
        return cls(
            transform="attention",
            size=32,
            places=1,
            widths=(12, 16, 24, 24),
            hidden=(64,),
            localisation=16,
            dropout=0.0,
            **TINY_RECIPE | {"steps": 1500, "learning_rate": 1e-3, "localisation_rate": 0.1},
        )

    @classmethod
    def paper(cls) -> StnSvhnConfig:
        return cls(steps=400_000, batch_size=128, localisation_rate=0.1)


def transformer(
    config: StnSvhnConfig, transform: Transform, channels: int, size: int
) -> SpatialTransformer:
    """One that resamples maps (B, channels, size, size) to their own size."""
    units = config.localisation
    localise: nn.Module = mlp(channels * size**2, units, units)
    if config.transformers == 1:
        localise = nn.Sequential(
            nn.Conv2d(channels, units, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(units, units, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            mlp(units * (size // 4) ** 2, units, units),
        )
    return SpatialTransformer(
        localise,
        size,
        transform,
        in_features=units,
        padding_mode="border",
        backend=config.backend,
    )


class Standardised(nn.Module):
    """Each image less its mean and over its spread."""

    def forward(self, images: Tensor) -> Tensor:
        axes = (1, 2, 3)
        centred = images - images.mean(axes, keepdim=True)
        return centred / (images.std(axes, keepdim=True) + 1e-3)


def network(config: StnSvhnConfig) -> nn.Sequential:
    layers, channels, size = nn.Sequential(Standardised()), config.channels, config.size
    for number, width in enumerate(config.widths):
        if config.transform and number < config.transformers:
            look = transformer(config, config.transform, channels, size)
            layers.add_module(f"transformer{number + 1}", look)
        block = [nn.Conv2d(channels, width, 5, padding=2), nn.ReLU()]
        if number % 2 == 0:
            block.append(nn.MaxPool2d(2))
            size //= 2
        if number:
            block.append(nn.Dropout(config.dropout))
        layers.add_module(f"convolution{number + 1}", nn.Sequential(*block))
        channels = width
    inner = channels * size**2
    for number, units in enumerate(config.hidden):
        block = [mlp(inner, units), nn.Dropout(config.dropout)]
        layers.add_module(f"hidden{number + 1}", nn.Sequential(*block))
        inner = units
    # Without norms, what torch's own numbers let through fades away from layer to layer.
    for name, layer in layers.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and "transformer" not in name:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layers.add_module("places", nn.Linear(inner, config.places * config.classes))
    layers.add_module("by_place", nn.Unflatten(1, (config.places, config.classes)))
    return layers


@register(
    "stn_svhn_single",
    summary="Reads house numbers, with a spatial transformer before the network",
    **CARD,
    defaults={"transformers": 1},
)
@register(
    "stn_svhn_multi",
    summary="Reads house numbers, with a spatial transformer before each of four convolutions",
    **CARD,
    defaults={"transformers": 4},
)
class StnSvhn(SpatialClassifier):
    """Reads numbers of several digits; without a transform it is the CNN to compare with."""

    Config = StnSvhnConfig
    generated_classes = 11

    def __init__(self, config: StnSvhnConfig) -> None:
        super().__init__(config)
        self.network = network(config)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels or (*map(str, range(10)), "")

    def generated(self, split: str) -> Dataset[tuple[Tensor, Tensor]]:
        from pyfast.data import HouseNumbers

        return HouseNumbers(split, self.config.size, self.config.places)
