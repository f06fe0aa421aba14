"""From pictures of any kind to what trained models say of them."""

from pyfast.zoo.pipelines.classify import Classification, classify
from pyfast.zoo.pipelines.segment import Segmentation, segment

__all__ = ["Classification", "Segmentation", "classify", "segment"]
