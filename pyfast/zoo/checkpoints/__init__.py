"""Public checkpoints in the layouts of others."""

from pyfast.zoo.checkpoints.layouts import LAYOUTS, Layout
from pyfast.zoo.checkpoints.loading import load_checkpoint

__all__ = ["LAYOUTS", "Layout", "load_checkpoint"]
