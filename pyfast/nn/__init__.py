"""Modules on the operators of `pyfast.ops`."""

from pyfast.nn.spatial_transformer import SpatialTransformer

__all__ = ["SpatialTransformer"]
