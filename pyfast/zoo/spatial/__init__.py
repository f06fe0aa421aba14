"""Networks that decide where to look: spatial transformers in front of and inside classifiers."""

from pyfast.zoo.spatial import claims
from pyfast.zoo.spatial._classifier import SpatialClassifier, SpatialConfig
from pyfast.zoo.spatial.stn_birds import StnBirds, StnBirdsConfig
from pyfast.zoo.spatial.stn_cnn import StnCnn, StnCnnConfig
from pyfast.zoo.spatial.stn_svhn import StnSvhn, StnSvhnConfig

__all__ = [
    "SpatialClassifier",
    "SpatialConfig",
    "StnBirds",
    "StnBirdsConfig",
    "StnCnn",
    "StnCnnConfig",
    "StnSvhn",
    "StnSvhnConfig",
    "claims",
]
