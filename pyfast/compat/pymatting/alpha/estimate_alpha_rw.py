"""Not offered."""

from pyfast.compat.pymatting._not_offered import not_offered

__all__ = ["estimate_alpha_rw"]

estimate_alpha_rw = not_offered("estimate_alpha_rw", "estimate_alpha_cf")
