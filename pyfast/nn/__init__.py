"""Modules on the operators of `pyfast.ops`."""

from pyfast.nn.aspp import ASPP
from pyfast.nn.context_module import ContextModule
from pyfast.nn.dense_crf import DenseCRF
from pyfast.nn.dilate import dilate_
from pyfast.nn.dilated_conv import DilatedConv1d, DilatedConv2d
from pyfast.nn.spatial_transformer import SpatialTransformer
from pyfast.nn.thin_plate_spline import ThinPlateSplineGrid

__all__ = [
    "ASPP",
    "ContextModule",
    "DenseCRF",
    "DilatedConv1d",
    "DilatedConv2d",
    "SpatialTransformer",
    "ThinPlateSplineGrid",
    "dilate_",
]
