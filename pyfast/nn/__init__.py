"""Modules on the operators of `pyfast.ops`."""

from pyfast.nn.spatial_transformer import SpatialTransformer
from pyfast.nn.thin_plate_spline import ThinPlateSplineGrid

__all__ = ["SpatialTransformer", "ThinPlateSplineGrid"]
