"""Not offered."""

from pyfast.compat.pymatting._not_offered import not_offered

__all__ = ["estimate_alpha_lbdm"]

estimate_alpha_lbdm = not_offered("estimate_alpha_lbdm", "estimate_alpha_cf")
