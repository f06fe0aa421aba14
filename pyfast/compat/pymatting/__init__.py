"""PyMatting's interface over pyfast: the same modules, names and arguments.

    import pyfast.compat.pymatting as pymatting      # was: import pymatting

Alpha mattes by closed form and by large kernels, and foregrounds, are pyfast's: the same results
within the accuracy of the solvers, sooner, and right for grey pictures too. `cg`, `jacobi`,
`vcycle` and `ichol` work on matrices as PyMatting's do. Alpha by k nearest neighbours, learning,
random walks and sampling (`knn`, `lbdm`, `rw`, `sm`) is not offered: these names say what to use.

Reference: Germer, Uelwer, Conrad, Harmeling 2020, PyMatting: A Python Library for Alpha Matting,
Journal of Open Source Software 5 (54). PyMatting 1.1.16.
"""

from pyfast.compat.pymatting.alpha import (
    estimate_alpha,
    estimate_alpha_cf,
    estimate_alpha_knn,
    estimate_alpha_lbdm,
    estimate_alpha_lkm,
    estimate_alpha_rw,
    estimate_alpha_sm,
)
from pyfast.compat.pymatting.cutout import cutout
from pyfast.compat.pymatting.foreground import (
    estimate_foreground,
    estimate_foreground_cf,
    estimate_foreground_ml,
)
from pyfast.compat.pymatting.laplacian import (
    LAPLACIAN_OPERATORS,
    LAPLACIANS,
    cf_laplacian,
    knn_laplacian,
    lbdm_laplacian,
    lkm_laplacian,
    make_linear_system,
    rw_laplacian,
    uniform_laplacian,
)
from pyfast.compat.pymatting.preconditioner import ichol, jacobi, vcycle
from pyfast.compat.pymatting.solver import CounterCallback, ProgressCallback, cg
from pyfast.compat.pymatting.util import (
    KDTree,
    Timer,
    apply_to_channels,
    blend,
    boxfilter,
    distance_transform,
    div_round_up,
    fix_trimap,
    grid_coordinates,
    isiterable,
    knn,
    load_image,
    make_grid,
    mat_vec_dot,
    normalize,
    normalize_rows,
    remove_background_bicolor,
    row_sum,
    sanity_check_image,
    save_image,
    show_images,
    sparse_conv_matrix,
    sparse_conv_matrix_with_offsets,
    stack_images,
    to_rgb8,
    trimap_split,
    vec_vec_dot,
    vec_vec_outer,
    weights_to_laplacian,
)

__all__ = [
    "LAPLACIANS",
    "LAPLACIAN_OPERATORS",
    "CounterCallback",
    "KDTree",
    "ProgressCallback",
    "Timer",
    "apply_to_channels",
    "blend",
    "boxfilter",
    "cf_laplacian",
    "cg",
    "cutout",
    "distance_transform",
    "div_round_up",
    "estimate_alpha",
    "estimate_alpha_cf",
    "estimate_alpha_knn",
    "estimate_alpha_lbdm",
    "estimate_alpha_lkm",
    "estimate_alpha_rw",
    "estimate_alpha_sm",
    "estimate_foreground",
    "estimate_foreground_cf",
    "estimate_foreground_ml",
    "fix_trimap",
    "grid_coordinates",
    "ichol",
    "isiterable",
    "jacobi",
    "knn",
    "knn_laplacian",
    "lbdm_laplacian",
    "lkm_laplacian",
    "load_image",
    "make_grid",
    "make_linear_system",
    "mat_vec_dot",
    "normalize",
    "normalize_rows",
    "remove_background_bicolor",
    "row_sum",
    "rw_laplacian",
    "sanity_check_image",
    "save_image",
    "show_images",
    "sparse_conv_matrix",
    "sparse_conv_matrix_with_offsets",
    "stack_images",
    "to_rgb8",
    "trimap_split",
    "uniform_laplacian",
    "vcycle",
    "vec_vec_dot",
    "vec_vec_outer",
    "weights_to_laplacian",
]

__version__ = "1.1.16"  # of the interface
