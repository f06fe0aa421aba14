"""The native module: facts about the build, and the kernels on arrays of any library.

An array is whatever has the buffer protocol (NumPy), DLPack (torch, JAX, CuPy) or
`__cuda_array_interface__` (PyCUDA, Numba), of float32 or float64, with any strides. Results are new
NumPy arrays, or what is given as `out`, which arrays on CUDA need. `stream` is a cudaStream_t.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar, overload

from numpy import floating
from numpy.typing import NDArray
from typing_extensions import Buffer

class _DLPack(Protocol):
    def __dlpack__(self, *, stream: Any = None) -> Any: ...
    def __dlpack_device__(self) -> Any: ...

class _CudaArray(Protocol):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...

_Array: TypeAlias = Buffer | _DLPack | _CudaArray
_Result: TypeAlias = NDArray[floating[Any]]
_T = TypeVar("_T")
_Out = TypeVar("_Out", bound=_Array)
_Out2 = TypeVar("_Out2", bound=_Array)
_Out3 = TypeVar("_Out3", bound=_Array)
_Size: TypeAlias = tuple[int, ...] | list[int]

with_cuda: bool
cuda_archs: str

def torch_has_cuda_shim() -> bool: ...
def cpu_capability() -> str: ...
def set_cpu_capability(name: str) -> None: ...
def cpu_capabilities() -> list[str]: ...
def gathers() -> bool: ...
def set_gathers(use: bool) -> None: ...
def clear_scratch() -> int: ...
def after_fork() -> None: ...
def with_matting_progress(
    callback: Callable[[int, float, float], Any] | None, body: Callable[[], _T]
) -> _T: ...
@overload
def affine_grid(
    theta: _Array,
    size: _Size,
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def affine_grid(
    theta: _Array,
    size: _Size,
    align_corners: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def affine_grid_backward(
    grad_grid: _Array,
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def affine_grid_backward(
    grad_grid: _Array,
    align_corners: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def grid_sample(
    input: _Array,
    grid: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def grid_sample(
    input: _Array,
    grid: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def grid_sample_backward(
    grad_output: _Array,
    input: _Array,
    grid: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result]: ...
@overload
def grid_sample_backward(
    grad_output: _Array,
    input: _Array,
    grid: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: tuple[_Out, _Out2],
    stream: int = 0,
) -> tuple[_Out, _Out2]: ...
@overload
def flow_sample(
    input: _Array,
    flow: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def flow_sample(
    input: _Array,
    flow: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def flow_sample_backward(
    grad_output: _Array,
    input: _Array,
    flow: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result]: ...
@overload
def flow_sample_backward(
    grad_output: _Array,
    input: _Array,
    flow: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: tuple[_Out, _Out2],
    stream: int = 0,
) -> tuple[_Out, _Out2]: ...
@overload
def matrix_sample(
    input: _Array,
    matrix: _Array,
    size: _Size,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    pixels: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def matrix_sample(
    input: _Array,
    matrix: _Array,
    size: _Size,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    pixels: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def matrix_sample_backward(
    grad_output: _Array,
    input: _Array,
    matrix: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    pixels: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result]: ...
@overload
def matrix_sample_backward(
    grad_output: _Array,
    input: _Array,
    matrix: _Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    pixels: bool = False,
    *,
    out: tuple[_Out, _Out2],
    stream: int = 0,
) -> tuple[_Out, _Out2]: ...
@overload
def depthwise_conv2d(
    input: _Array,
    weight: _Array,
    padding: _Size,
    dilation: _Size,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def depthwise_conv2d(
    input: _Array,
    weight: _Array,
    padding: _Size,
    dilation: _Size,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def depthwise_conv2d_weight(
    input: _Array,
    grad_output: _Array,
    kernel: _Size,
    padding: _Size,
    dilation: _Size,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def depthwise_conv2d_weight(
    input: _Array,
    grad_output: _Array,
    kernel: _Size,
    padding: _Size,
    dilation: _Size,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def foreground(
    image: _Array,
    alpha: _Array,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    small_iterations: int = 10,
    big_iterations: int = 4,
    small_size: int = 32,
    tolerance: float = 0.0,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result]: ...
@overload
def foreground(
    image: _Array,
    alpha: _Array,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    small_iterations: int = 10,
    big_iterations: int = 4,
    small_size: int = 32,
    tolerance: float = 0.0,
    *,
    out: tuple[_Out, _Out2],
    stream: int = 0,
) -> tuple[_Out, _Out2]: ...
@overload
def guided_filter(
    guide: _Array,
    input: _Array,
    radius: int = 8,
    epsilon: float = 1e-4,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def guided_filter(
    guide: _Array,
    input: _Array,
    radius: int = 8,
    epsilon: float = 1e-4,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def gaussian_lattice(
    features: _Array,
    closed: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def gaussian_lattice(
    features: _Array,
    closed: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def gaussian_filter(
    values: _Array,
    lattice: _Array,
    transposed: bool = False,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def gaussian_filter(
    values: _Array,
    lattice: _Array,
    transposed: bool = False,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def gaussian_exact(
    values: _Array,
    features: _Array,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def gaussian_exact(
    values: _Array,
    features: _Array,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def mean_field(
    unary: _Array,
    start: _Array,
    lattices: _Array,
    grids: _Array,
    costs: _Array,
    lengths: _Size,
    normalizations: _Size,
    size: _Size,
    iterations: int,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def mean_field(
    unary: _Array,
    start: _Array,
    lattices: _Array,
    grids: _Array,
    costs: _Array,
    lengths: _Size,
    normalizations: _Size,
    size: _Size,
    iterations: int,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def matting_energy(
    v: _Array,
    image: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result, _Result]: ...
@overload
def matting_energy(
    v: _Array,
    image: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    *,
    out: tuple[_Out, _Out2, _Out3],
    stream: int = 0,
) -> tuple[_Out, _Out2, _Out3]: ...
@overload
def matting_product(
    v: _Array,
    image: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def matting_product(
    v: _Array,
    image: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
@overload
def matting_solve(
    rhs: _Array,
    x: _Array,
    image: _Array,
    diagonal: _Array,
    known: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    tolerance: float = 1e-7,
    most_iterations: int = 1000,
    *,
    out: None = None,
    stream: int = 0,
) -> tuple[_Result, _Result]: ...
@overload
def matting_solve(
    rhs: _Array,
    x: _Array,
    image: _Array,
    diagonal: _Array,
    known: _Array,
    epsilon: float = 1e-7,
    radius: int = 1,
    tolerance: float = 1e-7,
    most_iterations: int = 1000,
    *,
    out: tuple[_Out, _Out2],
    stream: int = 0,
) -> tuple[_Out, _Out2]: ...
def matting_matrix(
    image: _Result, epsilon: float = 1e-7, radius: int = 1
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def with_matting_preconditioner(
    image: NDArray[Any],
    diagonal: NDArray[Any],
    epsilon: float,
    radius: int,
    body: Callable[[Callable[[NDArray[Any]], NDArray[Any]]], _T],
) -> _T: ...
@overload
def gaussian_grid(
    values: _Array,
    grid: _Array,
    size: _Size,
    *,
    out: None = None,
    stream: int = 0,
) -> _Result: ...
@overload
def gaussian_grid(
    values: _Array,
    grid: _Array,
    size: _Size,
    *,
    out: _Out,
    stream: int = 0,
) -> _Out: ...
