"""Matting Laplacians as matrices and as functions."""

from pyfast.compat.pymatting.laplacian.cf_laplacian import cf_laplacian
from pyfast.compat.pymatting.laplacian.knn_laplacian import knn_laplacian
from pyfast.compat.pymatting.laplacian.laplacian import make_linear_system
from pyfast.compat.pymatting.laplacian.lbdm_laplacian import lbdm_laplacian
from pyfast.compat.pymatting.laplacian.lkm_laplacian import lkm_laplacian
from pyfast.compat.pymatting.laplacian.rw_laplacian import rw_laplacian
from pyfast.compat.pymatting.laplacian.uniform_laplacian import uniform_laplacian

__all__ = [
    "LAPLACIANS",
    "LAPLACIAN_OPERATORS",
    "cf_laplacian",
    "knn_laplacian",
    "lbdm_laplacian",
    "lkm_laplacian",
    "make_linear_system",
    "rw_laplacian",
    "uniform_laplacian",
]

LAPLACIANS = [cf_laplacian, uniform_laplacian]
LAPLACIAN_OPERATORS = [lkm_laplacian]
