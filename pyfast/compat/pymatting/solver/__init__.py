"""Conjugate gradients."""

from pyfast.compat.pymatting.solver.callback import CounterCallback, ProgressCallback
from pyfast.compat.pymatting.solver.cg import cg

__all__ = ["CounterCallback", "ProgressCallback", "cg"]
