"""PyMatting's interface over pyfast: the same modules, names and arguments.

    import pyfast.compat.pymatting as pymatting      # was: import pymatting

Alpha mattes by closed form and by large kernels, and foregrounds, are pyfast's: the same results
within the accuracy of the solvers, sooner, and right for grey pictures too. `cg`, `jacobi`,
`vcycle` and `ichol` work on matrices as PyMatting's do. Alpha by k nearest neighbours, learning,
random walks and sampling (`knn`, `lbdm`, `rw`, `sm`) is not offered: these names say what to use.

Reference: Germer, Uelwer, Conrad, Harmeling 2020, PyMatting: A Python Library for Alpha Matting,
Journal of Open Source Software 5 (54). PyMatting 1.1.16.
"""

from pyfast.compat.pymatting import alpha as _alpha
from pyfast.compat.pymatting import cutout as _cutout
from pyfast.compat.pymatting import foreground as _foreground
from pyfast.compat.pymatting import laplacian as _laplacian
from pyfast.compat.pymatting import preconditioner as _preconditioner
from pyfast.compat.pymatting import solver as _solver
from pyfast.compat.pymatting import util as _util
from pyfast.compat.pymatting.alpha import *  # noqa: F403
from pyfast.compat.pymatting.cutout import *  # noqa: F403
from pyfast.compat.pymatting.foreground import *  # noqa: F403
from pyfast.compat.pymatting.laplacian import *  # noqa: F403
from pyfast.compat.pymatting.preconditioner import *  # noqa: F403
from pyfast.compat.pymatting.solver import *  # noqa: F403
from pyfast.compat.pymatting.util import *  # noqa: F403

__version__ = "1.1.16"  # of the interface

__all__: list[str] = []
__all__ += _alpha.__all__
__all__ += _cutout.__all__
__all__ += _foreground.__all__
__all__ += _laplacian.__all__
__all__ += _preconditioner.__all__
__all__ += _solver.__all__
__all__ += _util.__all__
