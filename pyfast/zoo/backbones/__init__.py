"""Networks that others stand on, with features by name."""

from pyfast.zoo.backbones._backbone import Backbone, BackboneConfig
from pyfast.zoo.backbones.inception import Inception, InceptionConfig
from pyfast.zoo.backbones.resnet import ResNet, ResNetConfig
from pyfast.zoo.backbones.vgg import VGG, VGGConfig

__all__ = [
    "VGG",
    "Backbone",
    "BackboneConfig",
    "Inception",
    "InceptionConfig",
    "ResNet",
    "ResNetConfig",
    "VGGConfig",
]
