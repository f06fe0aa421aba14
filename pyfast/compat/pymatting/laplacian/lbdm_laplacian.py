"""Not offered."""

from pyfast.compat.pymatting._not_offered import not_offered

__all__ = ["lbdm_laplacian"]

lbdm_laplacian = not_offered("lbdm_laplacian", "cf_laplacian")
