"""A label for every pixel."""

from pyfast.zoo.segmentation import claims
from pyfast.zoo.segmentation._segmenter import Segmenter, SegmenterConfig
from pyfast.zoo.segmentation.crf_rnn import CRFRNN, CRFRNNConfig
from pyfast.zoo.segmentation.deeplab import (
    DeepLabResNet,
    DeepLabResNetConfig,
    DeepLabV1,
    DeepLabV1Config,
    DeepLabVGG,
    DeepLabVGGConfig,
)
from pyfast.zoo.segmentation.dilatednet import (
    DilatedNet,
    DilatedNet8,
    DilatedNet8Config,
    DilatedNetConfig,
)
from pyfast.zoo.segmentation.losses import LOSSES, cross_entropy, dice_loss, lovasz_softmax

__all__ = [
    "CRFRNN",
    "LOSSES",
    "CRFRNNConfig",
    "DeepLabResNet",
    "DeepLabResNetConfig",
    "DeepLabV1",
    "DeepLabV1Config",
    "DeepLabVGG",
    "DeepLabVGGConfig",
    "DilatedNet",
    "DilatedNet8",
    "DilatedNet8Config",
    "DilatedNetConfig",
    "Segmenter",
    "SegmenterConfig",
    "claims",
    "cross_entropy",
    "dice_loss",
    "lovasz_softmax",
]
