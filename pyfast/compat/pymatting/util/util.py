"""Pictures, files, vectors of pixels, sparse matrices over them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from PIL import Image

__all__ = [
    "apply_to_channels",
    "blend",
    "div_round_up",
    "fix_trimap",
    "grid_coordinates",
    "isiterable",
    "load_image",
    "make_grid",
    "mat_vec_dot",
    "normalize",
    "normalize_rows",
    "remove_background_bicolor",
    "row_sum",
    "sanity_check_image",
    "save_image",
    "show_images",
    "sparse_conv_matrix",
    "sparse_conv_matrix_with_offsets",
    "stack_images",
    "to_rgb8",
    "trimap_split",
    "vec_vec_dot",
    "vec_vec_outer",
    "weights_to_laplacian",
]

Array = NDArray[Any]
_FLOATS = (np.float32, np.float64)
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "none": Image.Resampling.NEAREST,
}


# --- arrays -------------------------------------------------------------------------------------


def apply_to_channels(single_channel_func: Callable[..., Array]) -> Callable[..., Array]:
    """The function of (H, W, …) that does to every channel what one of (H, W) does."""

    @wraps(single_channel_func)
    def of_channels(image: Array, *args: Any, **kwargs: Any) -> Array:
        if image.ndim == 2:
            return single_channel_func(image, *args, **kwargs)
        flat = image.reshape(*image.shape[:2], -1)
        channels = [
            single_channel_func(flat[..., c].copy(), *args, **kwargs) for c in range(flat.shape[2])
        ]
        result = np.stack(channels, axis=2)
        return result.reshape(*result.shape[:2], *image.shape[2:])

    return of_channels


def vec_vec_dot(a: Array, b: Array) -> Array:
    """Dot products along the last axis."""
    return np.asarray(np.einsum("...i,...i->...", a, b))


def mat_vec_dot(A: Array, b: Array) -> Array:
    """Products of the matrices in the last two axes with the vectors in the last."""
    return np.asarray(np.einsum("...ij,...j->...i", A, b))


def vec_vec_outer(a: Array, b: Array) -> Array:
    """Outer products along the last axis."""
    return a[..., :, None] * b[..., None, :]


def normalize(values: ArrayLike) -> Array:
    """Values moved and scaled to reach from 0 to 1."""
    values = np.asarray(values)
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low))


def isiterable(obj: object) -> bool:
    """Whether it can be looped over."""
    return isinstance(obj, Iterable) or hasattr(obj, "__getitem__")


def div_round_up(x: int, n: int) -> int:
    """x / n, rounded up."""
    return -(-x // n)


def grid_coordinates(width: int, height: int, flatten: bool = False) -> tuple[Array, Array]:
    """x and y of every pixel, (H, W) each, or flat."""
    y, x = np.mgrid[:height, :width]
    return (x.ravel(), y.ravel()) if flatten else (x, y)


# --- pictures -----------------------------------------------------------------------------------


def load_image(
    path: str | PathLike[str], mode: str | None = None, size: Any = None, resample: str = "box"
) -> NDArray[np.float64]:
    """A picture of a file, (H, W, C) or (H, W), float64: its bytes divided by 255.

    Args:
        path: of the file.
        mode: "RGB", "GRAY", or one of Pillow's. None: that of the file.
        size: (W, H) to resize to, or a factor.
        resample: "box", "bilinear", "bicubic", "hamming", "lanczos" or "nearest".
    """
    image: Image.Image = Image.open(path)
    if mode is not None:
        image = image.convert({"GRAY": "L"}.get(mode.upper(), mode.upper()))
    if size is not None:
        if not isiterable(size):
            size = int(image.width * size), int(image.height * size)
        image = image.resize(size, _RESAMPLING[resample.lower()])
    return np.asarray(np.array(image) / 255.0)


def save_image(path: str | PathLike[str], image: Array, make_directory: bool = True) -> None:
    """Writes a picture, uint8 or floats in [0, 1]; its name says the format."""
    if make_directory:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_bytes("save_image", image)).save(path)


def _bytes(op: str, image: Array) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype not in _FLOATS:
        raise TypeError(f"{op}: expected an image of uint8, float32 or float64, got {image.dtype}")
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def to_rgb8(image: Array) -> NDArray[np.uint8]:
    """A picture, (H, W) or (H, W, 1, 3 or 4), as uint8 (H, W, 3).

    Raises:
        ValueError: for another shape.
    """
    pixels = np.atleast_3d(_bytes("to_rgb8", image))
    if image.ndim not in (2, 3) or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(f"to_rgb8: expected (H, W) or (H, W, 1, 3 or 4), got {image.shape}")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def stack_images(*images: Array) -> Array:
    """Pictures and planes of one size, joined along the channels."""
    return np.concatenate([np.atleast_3d(image) for image in images], axis=2)


def blend(foreground: Array, background: Array, alpha: Array) -> Array:
    """alpha F + (1 - alpha) B, with alpha (H, W) or (H, W, 1)."""
    opacity = alpha[..., None] if alpha.ndim == 2 else alpha
    return np.asarray(opacity * foreground + (1 - opacity) * background)


def make_grid(
    images: list[Array | None], nx: int | None = None, ny: int | None = None, dtype: Any = None
) -> Array | None:
    """Pictures of floats as one, `nx` in a row, `ny` rows; None leaves a place empty."""
    if not images:
        return None
    given = [image for image in images if image is not None]
    for one in given:
        if one.dtype not in _FLOATS:
            raise TypeError(f"make_grid: expected images of float32 or float64, got {one.dtype}")
    if nx is None:
        nx = math.ceil(math.sqrt(len(images))) if ny is None else div_round_up(len(images), ny)
    ny = div_round_up(len(images), nx) if ny is None else ny
    height, width = (max(image.shape[axis] for image in given) for axis in (0, 1))
    depth = max(np.atleast_3d(image).shape[2] for image in given)
    grid = np.zeros((height * ny, width * nx, depth), dtype or given[0].dtype)
    for index, image in enumerate(images):
        if image is None:
            continue
        pixels = np.atleast_3d(image)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, depth, axis=2)
        elif pixels.shape[2] < depth:  # opaque
            pixels = stack_images(pixels, np.ones(pixels.shape[:2], pixels.dtype))
        top, left = index // nx * height, index % nx * width
        grid[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return grid[..., 0] if depth == 1 else grid


def show_images(images: list[Array | None]) -> None:
    """Opens `make_grid(images)` in a viewer."""
    grid = make_grid(images)
    if grid is not None:
        Image.fromarray(_bytes("show_images", grid)).show()


def remove_background_bicolor(image: Array, fg_color: Array, bg_color: Array) -> Array:
    """RGBA of a picture of two colours, without the second of them.

    Alpha is how far a pixel lies on the line from one to the other.
    """
    line = fg_color - bg_color
    alpha = np.clip(((image - bg_color) @ line) / (line @ line), 0.0, 1.0)
    opacity = alpha[..., None]
    covered = image - (1 - opacity) * bg_color
    colour = np.divide(covered, opacity, out=np.zeros_like(covered), where=opacity != 0)
    return stack_images(np.clip(colour, 0, 1), alpha)


# --- what is wrong with a picture or a trimap ---------------------------------------------------


def sanity_check_image(image: Array) -> None:
    """Warns of what is no (H, W, 3) of floats in [0, 1]."""
    if image.ndim != 3 or image.shape[2] != 3:
        _warn(f"Expected RGB image of shape (?, ?, 3), but image.shape is {image.shape}.")
    _warn_of_values("Image", "image", image)


def _warn_of_values(what: str, name: str, values: Array) -> None:
    for bound, value in (("min", values.min()), ("max", values.max())):
        if value < 0 if bound == "min" else value > 1:
            _warn(f"{what} values should be in [0, 1], but {name}.{bound}() is {value}.")
    if values.dtype not in _FLOATS:
        _warn(
            f"Unexpected {name}.dtype {values.dtype}. Are you sure that you do not want to use "
            "np.float32 or np.float64 instead?"
        )


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def fix_trimap(trimap: Array, lower_threshold: float = 0.1, upper_threshold: float = 0.9) -> Array:
    """0 below the lower threshold, 1 above the upper one, 0.5 between.

    Raises:
        ValueError: the thresholds are not in order in [0, 1].
    """
    if not 0 <= lower_threshold <= upper_threshold <= 1:
        raise ValueError(
            "fix_trimap: expected 0 <= lower_threshold <= upper_threshold <= 1, got "
            f"{lower_threshold} and {upper_threshold}"
        )
    fixed = np.full_like(trimap, 0.5)
    fixed[trimap > upper_threshold] = 1
    fixed[trimap < lower_threshold] = 0
    return fixed


def trimap_split(
    trimap: Array, flatten: bool = True, bg_threshold: float = 0.1, fg_threshold: float = 0.9
) -> tuple[Array, Array, Array, Array]:
    """Masks of the foreground, the background, the known and the unknown pixels.

    Args:
        trimap: (H, W).
        flatten: whether the masks are flat.
        bg_threshold: pixels up to it are background.
        fg_threshold: pixels from it on are foreground.

    Raises:
        ValueError: there is no foreground, or no background.
    """
    values = trimap.ravel() if flatten else trimap
    _warn_of_values("Trimap", "trimap", values)
    foreground, background = values >= fg_threshold, values <= bg_threshold
    if not background.any():
        raise ValueError(f"Trimap did not contain background values (values <= {bg_threshold:f})")
    if not foreground.any():
        raise ValueError(f"Trimap did not contain foreground values (values >= {fg_threshold:f})")
    known = foreground | background
    return foreground, background, known, ~known


# --- sparse matrices over pixels ------------------------------------------------------------------


def row_sum(A: Any) -> Array:
    """The sum of each row."""
    return np.asarray(A.dot(np.ones(A.shape[1], A.dtype)))


def normalize_rows(A: Any, threshold: float = 0.0) -> Any:
    """The matrix with rows that sum to 1; rows that sum to less than `threshold` stay."""
    sums = row_sum(A)
    sums[sums < threshold] = 1.0
    return scipy.sparse.diags(1.0 / sums).dot(A)


def sparse_conv_matrix_with_offsets(
    width: int, height: int, kernel: ArrayLike, dx: Sequence[int] | Array, dy: Sequence[int] | Array
) -> Any:
    """The matrix that sums the pixels at offsets (dx, dy), weighted; at the edge the nearest ones.

    A SciPy CSR matrix (H W, H W).
    """
    weights = np.asarray(kernel, dtype=np.float64).ravel()
    x, y = grid_coordinates(width, height, flatten=True)
    columns = [
        np.clip(x + right, 0, width - 1) + np.clip(y + down, 0, height - 1) * width
        for right, down, _ in zip(dx, dy, weights, strict=False)
    ]
    size = width * height
    rows = np.tile(np.arange(size), len(columns))
    values = np.repeat(weights[: len(columns)], size)
    places = rows, np.concatenate(columns)
    return scipy.sparse.csr_matrix((values, places), shape=(size, size))


def sparse_conv_matrix(width: int, height: int, kernel: Array) -> Any:
    """The matrix of a correlation with `kernel`, (KH, KW), at the edge with the nearest pixels."""
    rows, columns = kernel.shape
    x, y = grid_coordinates(columns, rows, flatten=True)
    return sparse_conv_matrix_with_offsets(width, height, kernel, x - columns // 2, y - rows // 2)


def weights_to_laplacian(W: Any, normalize: bool = True, regularization: float = 0.0) -> Any:
    """The diagonal of row sums (and `regularization`) less the weights.

    Args:
        W: SciPy matrix of weights.
        normalize: whether rows are made to sum to 1 before.
        regularization: added to the diagonal.
    """
    weights = normalize_rows(W) if normalize else W
    return scipy.sparse.diags(regularization + row_sum(weights)) - weights
