"""Networks that decide where to look: spatial transformers in front of and inside classifiers."""

from pyfast.zoo.spatial._classifier import SpatialClassifier, SpatialConfig
from pyfast.zoo.spatial.stn_cnn import StnCnn, StnCnnConfig

__all__ = ["SpatialClassifier", "SpatialConfig", "StnCnn", "StnCnnConfig"]
