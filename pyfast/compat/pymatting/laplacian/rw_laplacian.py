"""Not offered."""

from pyfast.compat.pymatting._not_offered import not_offered

__all__ = ["rw_laplacian"]

rw_laplacian = not_offered("rw_laplacian", "cf_laplacian")
