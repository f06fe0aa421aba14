"""CNNs that read digits, without and with a spatial transformer.

Reference: Jaderberg et al., Spatial Transformer Networks, 2015, section 4.1.
"""

import torch.nn.functional as F
from torch import Tensor, nn

import pyfast
from pyfast.demo.sampling.digits import CANVAS, DIGIT, Backend

JUDGE_WEIGHT = 5.0


class Classifier(nn.Sequential):
    """Layers that end in one score for every class."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(images), labels)


def cnn(size: int = CANVAS) -> Classifier:
    """Two convolutions with max pooling and two linear layers, for images of `size`."""
    return Classifier(
        *_convolution(1, 16),
        *_convolution(16, 32),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def pooling_cnn() -> Classifier:
    """A CNN whose last max pooling covers the whole map, so that place is forgotten by design."""
    return Classifier(
        *_convolution(1, 16),
        *_convolution(16, 32),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.AdaptiveMaxPool2d(1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class TransformerCNN(nn.Module):
    """A spatial transformer that cuts out and straightens the digit, and a small CNN behind it.

    A CNN learns to read digits at any angle, and a transformer that learns from it alone does not
    turn them. So the transformer learns from `judge` as well, a linear classifier on a coarse view
    of what it hands on: that one can tell digits apart only if those of a class look alike.
    """

    def __init__(self, backend: Backend = "pyfast") -> None:
        super().__init__()
        localisation = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(1, 16, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(16, 20, 5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(320, 32),
            nn.ReLU(),
        )
        self.transformer = pyfast.nn.SpatialTransformer(
            localisation, DIGIT, "similarity", in_features=32, backend=backend
        )
        self.judge = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(DIGIT**2 // 4, 10))
        self.cnn = cnn(DIGIT)

    def forward(self, images: Tensor) -> Tensor:
        return self.cnn(self.transformer(images))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        straight = self.transformer(images)
        judged = F.cross_entropy(self.judge(straight), labels)
        return self.cnn.loss(straight, labels) + JUDGE_WEIGHT * judged


def _convolution(channels: int, filters: int) -> tuple[nn.Module, ...]:
    # Pooling first: the same result, with a quarter of the work for the ReLU.
    return nn.Conv2d(channels, filters, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
