"""Alpha mattes from a trimap."""

from pyfast.compat.pymatting.alpha.estimate_alpha_cf import estimate_alpha_cf
from pyfast.compat.pymatting.alpha.estimate_alpha_cf import estimate_alpha_cf as estimate_alpha
from pyfast.compat.pymatting.alpha.estimate_alpha_knn import estimate_alpha_knn
from pyfast.compat.pymatting.alpha.estimate_alpha_lbdm import estimate_alpha_lbdm
from pyfast.compat.pymatting.alpha.estimate_alpha_lkm import estimate_alpha_lkm
from pyfast.compat.pymatting.alpha.estimate_alpha_rw import estimate_alpha_rw
from pyfast.compat.pymatting.alpha.estimate_alpha_sm import estimate_alpha_sm

__all__ = [
    "estimate_alpha",
    "estimate_alpha_cf",
    "estimate_alpha_knn",
    "estimate_alpha_lbdm",
    "estimate_alpha_lkm",
    "estimate_alpha_rw",
    "estimate_alpha_sm",
]
