"""Modules on the operators of `pyfast.ops`."""

from pyfast.nn.dense_crf import DenseCRF
from pyfast.nn.spatial_transformer import SpatialTransformer
from pyfast.nn.thin_plate_spline import ThinPlateSplineGrid

__all__ = ["DenseCRF", "SpatialTransformer", "ThinPlateSplineGrid"]
