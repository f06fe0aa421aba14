"""Foregrounds behind an alpha matte."""

from pyfast.compat.pymatting.foreground.estimate_foreground_cf import estimate_foreground_cf
from pyfast.compat.pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml
from pyfast.compat.pymatting.foreground.estimate_foreground_ml import (
    estimate_foreground_ml as estimate_foreground,
)

__all__ = ["estimate_foreground", "estimate_foreground_cf", "estimate_foreground_ml"]
