"""Models by name: build, train, use, save and check them.

Nothing heavy is imported before it is used: training and metrics bring their own packages.
"""

from pyfast.zoo.checkpoints import load_checkpoint
from pyfast.zoo.claims import Claim, Measured, claim, verify
from pyfast.zoo.export import export_onnx
from pyfast.zoo.hub import from_pretrained, save_pretrained, shipped_weights
from pyfast.zoo.images import expect_images
from pyfast.zoo.pipelines import Classification, Segmentation, classify, segment
from pyfast.zoo.registry import ModelCard, create_model, info, list_models, register
from pyfast.zoo.system import Config, Model, System, TrainingConfig

# isort: split
# The families come last: their files may take what is above from `pyfast.zoo`.
from pyfast.zoo import backbones, matting, segmentation, spatial

__all__ = [
    "Claim",
    "Classification",
    "Config",
    "Measured",
    "Model",
    "ModelCard",
    "Segmentation",
    "System",
    "TrainingConfig",
    "backbones",
    "claim",
    "classify",
    "create_model",
    "expect_images",
    "export_onnx",
    "from_pretrained",
    "info",
    "list_models",
    "load_checkpoint",
    "matting",
    "register",
    "save_pretrained",
    "segment",
    "segmentation",
    "shipped_weights",
    "spatial",
    "verify",
]
