"""CNNs that read digits, without and with a spatial transformer.

Reference: Jaderberg et al., Spatial Transformer Networks, 2015, section 4.1.
"""

from torch import nn

import pyfast
from pyfast.demo.sampling.digits import CANVAS, DIGIT, Backend


def cnn(size: int = CANVAS) -> nn.Sequential:
    """Two convolutions with max pooling and two linear layers, for images of `size`."""
    return nn.Sequential(
        *_convolution(1, 16),
        *_convolution(16, 32),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def pooling_cnn() -> nn.Sequential:
    """A CNN whose last max pooling covers the whole map, so that place is forgotten by design."""
    return nn.Sequential(
        *_convolution(1, 16),
        *_convolution(16, 32),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def transformer_cnn(backend: Backend = "pyfast") -> nn.Sequential:
    """A spatial transformer that cuts out and straightens the digit, and a small `cnn` behind."""
    localisation = nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 20, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 32),
        nn.ReLU(),
    )
    return nn.Sequential(
        pyfast.nn.SpatialTransformer(localisation, DIGIT, in_features=32, backend=backend),
        cnn(DIGIT),
    )


def _convolution(channels: int, filters: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
