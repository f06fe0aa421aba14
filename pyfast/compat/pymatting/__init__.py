"""PyMatting's interface over pyfast: the same modules, names and arguments.

    import pyfast.compat.pymatting as pymatting      # was: import pymatting

Alpha mattes by closed form and by large kernels, and foregrounds, are pyfast's: the same results
within the accuracy of the solvers, sooner, and for grey pictures right. `cg`, `jacobi`, `vcycle`
and `ichol` work on matrices as PyMatting's do. Alpha by k nearest neighbours, learning, random walks
and sampling (`knn`, `lbdm`, `rw`, `sm`) is not offered: these names say what to use.

Reference: Germer, Uelwer, Conrad, Harmeling 2020, PyMatting: A Python Library for Alpha Matting,
Journal of Open Source Software 5 (54). PyMatting 1.1.16.
"""

from pyfast.compat.pymatting.alpha import *
from pyfast.compat.pymatting.cutout import *
from pyfast.compat.pymatting.foreground import *
from pyfast.compat.pymatting.laplacian import *
from pyfast.compat.pymatting.preconditioner import *
from pyfast.compat.pymatting.solver import *
from pyfast.compat.pymatting.util import *

__version__ = "1.1.16"  # of the interface
