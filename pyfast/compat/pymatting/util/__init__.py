"""Pictures, files, vectors of pixels, sparse matrices over them."""

from pyfast.compat.pymatting.util import util as _util
from pyfast.compat.pymatting.util.boxfilter import boxfilter
from pyfast.compat.pymatting.util.distance import distance_transform
from pyfast.compat.pymatting.util.kdtree import KDTree, knn
from pyfast.compat.pymatting.util.timer import Timer
from pyfast.compat.pymatting.util.util import *  # noqa: F403

__all__ = ["KDTree", "Timer", "boxfilter", "distance_transform", "knn"]
__all__ += _util.__all__
