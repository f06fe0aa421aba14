"""Preconditioners for `cg`."""

from pyfast.compat.pymatting.preconditioner.ichol import ichol
from pyfast.compat.pymatting.preconditioner.jacobi import jacobi
from pyfast.compat.pymatting.preconditioner.vcycle import vcycle

__all__ = ["ichol", "jacobi", "vcycle"]
