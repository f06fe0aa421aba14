"""Sampling images and volumes at computed places: grids, maps and flows, fused with the sampler.

Normalised coordinates are those of torch: in [-1, 1], x before y before z. With `align_corners` -1
and 1 are the centres of the outermost pixels, otherwise the outer edges of the image. Coordinates
in pixels count the centres of pixels from 0. Maps always go from the output to the input, unless a
function says otherwise.

What holds for every sampler here:

- Images are (N, C, H, W), volumes (N, C, D, H, W), of float16, bfloat16, float32 or float64, with
  any strides; channels_last stays channels_last. An input of batch 1 serves every map.
- `mode` is "bilinear", "nearest" or, for images, "bicubic". `padding_mode` says what lies outside:
  "zeros", "border" or "reflection".
- Coordinates, weights and sums of a half input are float32; its grid, matrix or flow may be too.
- Under autocast everything is computed in float32.
- Results are the same bits in every run, on the CPU for any number of threads. So are gradients,
  but for that of the input on CUDA: but for affine maps of images it is summed in no fixed order,
  unless `torch.use_deterministic_algorithms(True)` asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyfast.ops import _sampling_checks as checks
from pyfast.ops import _sampling_operators as operators
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import (
    HALVES,
    expect_flag,
    expect_size,
    explained,
)
from pyfast.ops._sampling_operators import MODE, MODES, NORMALISED, PADDING, PADDING_MODES, PIXELS
from pyfast.ops._sampling_reference import (
    affine_grid_reference,
    affine_grid_sample_reference,
    grid_sample_reference,
    homography_grid_sample_reference,
    warp_affine_reference,
    warp_perspective_reference,
    warp_reference,
)

__all__ = [
    "MODES",
    "PADDING_MODES",
    "affine_grid",
    "affine_grid_reference",
    "affine_grid_sample",
    "affine_grid_sample_reference",
    "grid_sample",
    "grid_sample_reference",
    "homography_grid_sample",
    "homography_grid_sample_reference",
    "warp",
    "warp_affine",
    "warp_affine_reference",
    "warp_perspective",
    "warp_perspective_reference",
    "warp_reference",
]

_PLAIN = {tuple, list, torch.Size}


def _sides(op: str, size: Sequence[int], dims: int, ranks: tuple[int, ...]) -> Sequence[int]:
    """D, H, W out of a size whose length is one of `ranks`; the depth of an image is 1."""
    if type(size) in _PLAIN and len(size) in ranks:
        depth, height, width = 1 if dims == 2 else size[-3], size[-2], size[-1]
        if type(height) is type(width) is type(depth) is int:
            return depth, height, width
    if torch._C._get_tracing_state() is not None:
        size = [int(side) for side in size]  # a constant of the trace
    sides = expect_size(op, size, ranks)
    return sides if dims == 3 else (1, *sides)


def _options(
    op: str, mode: str, padding_mode: str, align_corners: bool | None
) -> tuple[int, int, bool]:
    """As the operators take them; a KeyError says that a word is unknown."""
    return MODE[mode], PADDING[padding_mode], expect_flag(op, "align_corners", align_corners)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where an affine map sends the pixels of an output: as `F.affine_grid`.

    Args:
        theta: maps from output to input coordinates, (N, 2, 3), or (N, 3, 4) for volumes; floats.
        size: (N, C, H, W) or (N, C, D, H, W) of the output; C is not used.
        align_corners: see the module. None: False.

    Returns:
        Normalised input coordinates, (N, H, W, 2) or (N, D, H, W, 3), of the dtype of `theta`. In
        half precision they are rounded at the end, which in a large image is more than a pixel;
        `grid_sample` takes a float32 grid for a half image.

    Raises:
        TypeError: `theta` is no tensor of floats, or `size` does not hold integers.
        ValueError: `theta` or `size` has the wrong shape, or a size is not positive.

    Reference: Jaderberg et al. 2015, Spatial Transformer Networks, equation 1.

    Example:
        >>> affine_grid(torch.eye(2, 3)[None], (1, 1, 2, 2))[0, :, :, 0]
        tensor([[-0.5000,  0.5000],
                [-0.5000,  0.5000]])
    """
    try:
        dims = len(size) - 2
        if theta.shape != (size[0], dims, dims + 1) or size[0] < 1 or size[1] < 1:
            raise ValueError("theta does not fit size")
        sides = _sides("affine_grid", size, dims, (4, 5))
        corners = expect_flag("affine_grid", "align_corners", align_corners)
        if theta.dtype in HALVES and not is_autocast_on(theta.device.type):
            return operators.affine_grid(theta.float(), *sides, corners).to(theta.dtype)
        return operators.affine_grid(theta, *sides, corners)
    except Exception as error:
        check = checks.check_affine_grid
        raise explained("affine_grid", error, check, theta, size, align_corners) from None


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Samples images or volumes where a grid says: as `F.grid_sample`.

    Args:
        input: (N or 1, C, H_in, W_in) or (N or 1, C, D_in, H_in, W_in); see the module.
        grid: normalised coordinates, (N, H, W, 2) or (N, D, H, W, 3).
        mode: "bilinear", "nearest", or for images "bicubic".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: see the module. None: False.

    Returns:
        (N, C, H, W) or (N, C, D, H, W), channels_last where `input` is. A coordinate of NaN gives
        NaN with "bicubic", and with "bilinear" and "zeros"; else what lies at pixel 0, or outside
        for "nearest" and "zeros".

    Raises:
        TypeError: an argument is no dense tensor, or not of a dtype that fits the other, or of
            another type than above.
        ValueError: a shape, device or mode does not fit.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> grid_sample(image, torch.zeros(1, 1, 1, 2))
        tensor([[[[2.5000]]]])
    """
    try:
        places = grid.float() if grid.dtype in HALVES and grid.dtype == input.dtype else grid
        options = _options("grid_sample", mode, padding_mode, align_corners)
        return operators.grid_sample(input, places, *options)
    except Exception as error:
        check, asked = checks.check_grid_sample, (mode, padding_mode, align_corners)
        raise explained("grid_sample", error, check, input, grid, *asked) from None


def affine_grid_sample(
    input: Tensor,
    theta: Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """Samples under affine maps: `grid_sample(input, affine_grid(theta, size))` in one.

    No grid is stored, neither now nor for the gradient: `input` and `theta` are all that is kept.
    Coordinates are computed from the composed map, with one rounding for a pixel, and are more
    exact than those of a grid.

    Args:
        input: (N or 1, C, H_in, W_in) or (N or 1, C, D_in, H_in, W_in); see the module.
        theta: maps from output to input coordinates, (N, 2, 3), or (N, 3, 4) for volumes.
        size: (H, W) or (D, H, W) of the output, or with (N, C) before it, as for `affine_grid`.
        mode: "bilinear", "nearest", or for images "bicubic".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: see the module.

    Returns:
        (N, C, H, W) or (N, C, D, H, W), channels_last where `input` is.

    Raises:
        TypeError: an argument is no dense tensor, or not of a dtype that fits the other, or of
            another type than above.
        ValueError: a shape, size, device or mode does not fit.

    Reference: Jaderberg et al. 2015, Spatial Transformer Networks, equations 1 and 5.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
        >>> affine_grid_sample(image, mirror, (2, 2))
        tensor([[[[1., 0.],
                  [3., 2.]]]])
    """
    op = "affine_grid_sample"
    try:
        if theta.shape[1] != input.dim() - 2:
            raise ValueError("theta does not fit input")
        options = _options(op, mode, padding_mode, align_corners)
        return _fused(op, input, theta, size, *options)
    except Exception as error:
        check, asked = checks.check_fused, (size, mode, padding_mode, align_corners)
        raise explained(op, error, check, op, input, "theta", theta, *asked) from None


def homography_grid_sample(
    input: Tensor,
    matrix: Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """Samples images under projective maps of normalised coordinates, without a grid in memory.

    The output pixel at (x, y) reads the input at (u / w, v / w), where
    (u, v, w) = matrix @ (x, y, 1). A factor on the matrix changes nothing.

    Args:
        input: (N or 1, C, H_in, W_in); see the module.
        matrix: maps from output to input coordinates, (N, 3, 3).
        size: (H, W) of the output, or with (N, C) before it.
        mode: "bilinear", "nearest" or "bicubic".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: see the module.

    Returns:
        (N, C, H, W), channels_last where `input` is. Where w is 0, positions are infinite or NaN,
        and are sampled as such coordinates are.

    Raises:
        TypeError: an argument is no dense tensor, or not of a dtype that fits the other, or of
            another type than above.
        ValueError: a shape, size, device or mode does not fit.

    Kept for the gradient: `input` and `matrix`.

    Reference: Hartley, Zisserman 2004, Multiple View Geometry, equation 2.6.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> turn = torch.tensor([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]])
        >>> homography_grid_sample(image, turn, (2, 2))
        tensor([[[[2., 0.],
                  [3., 1.]]]])
    """
    op = "homography_grid_sample"
    try:
        if matrix.shape[1] != 3 or input.dim() != 4:
            raise ValueError("matrix does not fit input")
        options = _options(op, mode, padding_mode, align_corners)
        return _fused(op, input, matrix, size, *options)
    except Exception as error:
        check, asked = checks.check_fused, (size, mode, padding_mode, align_corners)
        raise explained(op, error, check, op, input, "matrix", matrix, *asked) from None


def _fused(
    op: str,
    input: Tensor,
    matrix: Tensor,
    size: Sequence[int],
    mode: int,
    padding_mode: int,
    corners: bool,
) -> Tensor:
    places = matrix.float() if matrix.dtype in HALVES and matrix.dtype == input.dtype else matrix
    dims = input.dim() - 2
    sides = _sides(op, size, dims, (dims, dims + 2))
    if len(size) > 3 and (size[0] != matrix.shape[0] or size[1] != input.shape[1]):
        raise ValueError("size does not fit the tensors")
    coordinates = NORMALISED + corners
    return operators.matrix_sample(input, places, *sides, mode, padding_mode, coordinates)


def warp_affine(
    image: Tensor,
    matrix: Tensor,
    size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    inverse: bool = False,
) -> Tensor:
    """Moves the pixels of images by affine maps in pixel coordinates: as OpenCV's `warpAffine`.

    Args:
        image: (N or 1, C, H_in, W_in) or (N or 1, C, D_in, H_in, W_in); see the module.
        matrix: (N, 2, 3), or (N, 3, 4) for volumes, or one without N for all images; of any
            floating-point dtype. It maps pixels (x, y) of `image` to pixels of the output.
        size: (H, W) or (D, H, W) of the output; OpenCV's dsize is (W, H). None: that of `image`.
        mode: "bilinear", "nearest", or for images "bicubic".
        padding_mode: what lies outside: "zeros" (OpenCV's BORDER_CONSTANT of 0), "border"
            (BORDER_REPLICATE) or "reflection".
        align_corners: what "reflection" mirrors about: the centres of the outermost pixels
            (BORDER_REFLECT_101) or the outer edges (BORDER_REFLECT).
        inverse: whether `matrix` maps from the output to `image` instead (WARP_INVERSE_MAP), which
            spares the inversion.

    Returns:
        (N, C, H, W) or (N, C, D, H, W), channels_last where `image` is.

    Raises:
        TypeError: an argument is no dense tensor of floats, or of another type than above.
        ValueError: a shape, size, device or mode does not fit.
        torch.linalg.LinAlgError: a matrix has no inverse, or none but for the rounding of float64.
            On CUDA, where to ask would make the host wait, its output is NaN or padding.

    No grid is stored, neither now nor for the gradient.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> warp_affine(image, torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
        tensor([[[[0., 0.],
                  [0., 2.]]]])
    """
    op = "warp_affine"
    try:
        if not matrix.is_floating_point() or matrix.shape[-2] != image.dim() - 2:
            raise ValueError("matrix does not fit image")
        options = _options(op, mode, padding_mode, align_corners)
        is_inverse = expect_flag(op, "inverse", inverse)
        return _warped(op, image, matrix, size, *options, is_inverse)
    except Exception as error:
        asked = matrix, size, mode, padding_mode, align_corners, inverse
        check = checks.check_warp_by_matrix
        raise explained(op, error, check, op, image, *asked) from None


def warp_perspective(
    image: Tensor,
    matrix: Tensor,
    size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
    *,
    inverse: bool = False,
) -> Tensor:
    """Moves the pixels of images by projective maps: as OpenCV's `warpPerspective`.

    Args:
        image: (N or 1, C, H_in, W_in); see the module.
        matrix: (N, 3, 3), or (3, 3) for all images; of any floating-point dtype. It maps pixels
            (x, y, 1) of `image` to pixels of the output, up to a factor.
        size: (H, W) of the output; OpenCV's dsize is (W, H). None: that of `image`.
        mode: "bilinear", "nearest" or "bicubic".
        padding_mode: what lies outside, as for `warp_affine`.
        align_corners: what "reflection" mirrors about, as for `warp_affine`.
        inverse: whether `matrix` maps from the output to `image` instead (WARP_INVERSE_MAP).

    Returns:
        (N, C, H, W), channels_last where `image` is.

    Raises:
        TypeError: an argument is no dense tensor of floats, or of another type than above.
        ValueError: a shape, size, device or mode does not fit.
        torch.linalg.LinAlgError: a matrix has no inverse; as for `warp_affine`.

    No grid is stored, neither now nor for the gradient.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> warp_perspective(image, torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]))
        tensor([[[[0., 0.],
                  [0., 2.]]]])
    """
    op = "warp_perspective"
    try:
        if not matrix.is_floating_point() or matrix.shape[-2] != 3 or image.dim() != 4:
            raise ValueError("matrix does not fit image")
        options = _options(op, mode, padding_mode, align_corners)
        is_inverse = expect_flag(op, "inverse", inverse)
        return _warped(op, image, matrix, size, *options, is_inverse)
    except Exception as error:
        asked = matrix, size, mode, padding_mode, align_corners, inverse
        check = checks.check_warp_by_matrix
        raise explained(op, error, check, op, image, *asked) from None


def _warped(
    op: str,
    image: Tensor,
    matrix: Tensor,
    size: Sequence[int] | None,
    mode: int,
    padding_mode: int,
    corners: bool,
    is_inverse: bool,
) -> Tensor:
    dims = image.dim() - 2
    sides = _sides(op, image.shape[2:] if size is None else size, dims, (dims,))
    real = torch.float64 if image.dtype == torch.float64 else torch.float32
    maps = matrix.expand(image.shape[0], -1, -1) if matrix.dim() == 2 else matrix
    if is_inverse:
        maps = maps.to(real)
    else:  # in float64, because positions are to be known to a fraction of a pixel
        maps = operators.invert_maps(maps.double(), real == torch.float32)
    options = mode, padding_mode, PIXELS + corners
    return operators.matrix_sample(image, maps, *sides, *options)


def warp(
    image: Tensor,
    flow: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """Samples images or volumes at displaced pixels: output(p) = image(p + flow(p)).

    Optical flow and dense registration speak this way. There is no identity grid in memory: `image`
    and `flow` are all that is kept for the gradient.

    Args:
        image: (N or 1, C, H_in, W_in) or (N or 1, C, D_in, H_in, W_in); see the module.
        flow: displacements in pixels, x before y before z, (N, 2, H, W) or (N, 3, D, H, W). The
            output has its size, which need not be that of `image`.
        mode: "bilinear", "nearest", or for images "bicubic".
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: what "reflection" mirrors about: the centres of the outermost pixels or the
            outer edges of the image.

    Returns:
        (N, C, H, W) or (N, C, D, H, W), channels_last where `image` is.

    Raises:
        TypeError: an argument is no dense tensor, or not of a dtype that fits the other, or of
            another type than above.
        ValueError: a shape, device or mode does not fit.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> warp(image, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2))
        tensor([[[[1., 0.],
                  [3., 0.]]]])
    """
    try:
        places = flow.float() if flow.dtype in HALVES and flow.dtype == image.dtype else flow
        options = _options("warp", mode, padding_mode, align_corners)
        return operators.flow_sample(image, places, *options)
    except Exception as error:
        check, asked = checks.check_warp, (mode, padding_mode, align_corners)
        raise explained("warp", error, check, image, flow, *asked) from None
