"""Not offered."""

from pyfast.compat.pymatting._not_offered import not_offered

__all__ = ["knn_laplacian"]

knn_laplacian = not_offered("knn_laplacian", "cf_laplacian")
