"""Makes a stylised photograph look like one: its colours follow the content's edges.

References: Li, Liu, Li, Yang, Kautz 2018, A Closed-form Solution to Photorealistic Image
Stylization, section 3.2; Luan, Paris, Shechtman, Bala 2017, Deep Photo Style Transfer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast.ops import _matting_checks as checks
from pyfast.ops import _matting_operators as operators
from pyfast.ops._pictures import Form, read_picture
from pyfast.ops.gaussian_filter import GaussianFilter, bilateral_features

__all__ = ["local_affine_smooth", "photorealistic_smooth"]


def photorealistic_smooth(
    result: Any,
    content: Any,
    beta: float = 0.9999,
    *,
    epsilon: float = 1e-7,
    radius: int = 1,
    rtol: float = 1e-7,
    maxiter: int = 1000,
) -> Any:
    """A stylised picture with the photograph's local structure: the smoothing of FastPhotoStyle.

    Solves (Id - beta S) V = (1 - beta) B for each channel B of `result`. S = D^-1/2 W D^-1/2 are
    the normalised affinities of the matting Laplacian L = D - W of `content`; D counts the windows
    that hold a pixel.

    Args:
        result: the stylised picture, (C, H, W) or (B, C, H, W) as a tensor, (H, W) or (H, W, C) as
            an array, or of Pillow.
        content: the photograph, of the same size.
        beta: how strongly neighbours bind, above 0 and below 1; the authors take 0.9999.
        epsilon: see `matting_energy`.
        radius: of the windows, in pixels, 1 to 8.
        rtol: iterations end at this residual, relative to the right-hand side.
        maxiter: most iterations.

    Returns:
        The smoothed picture in [0, 1], in the kind, shape and dtype of `result`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes do not fit, a value is not in its range or NaN, or the picture is smaller
            than a window.

    Warns:
        RuntimeWarning: `rtol` was not reached; what is returned is the last iterate.

    Differentiable in tensors by one more solve.

    Reference: Li et al. 2018, equation 5.

    Example:
        >>> content = torch.rand(3, 6, 7)
        >>> photorealistic_smooth(content, content).shape
        torch.Size([3, 6, 7])
    """
    op = "photorealistic_smooth"
    pixels, guide, form = _read_pair(op, result, content)
    checks.expect_window(op, epsilon, radius, (pixels.shape[2], pixels.shape[3]))
    checks.expect_iterations(op, rtol, maxiter)
    if isinstance(beta, bool) or not isinstance(beta, (int, float)):
        raise TypeError(f"{op}: expected beta to be a number, got {beta!r}")
    if not 0 < beta < 1:
        raise ValueError(f"{op}: expected beta between 0 and 1, got {beta}")
    values = pixels.double()
    count = _count_windows(values, radius)
    # With V = D^1/2 U the system is ((1 - beta) D + beta L) U = (1 - beta) D^1/2 B.
    ratio = (1 - beta) / beta
    root = count.sqrt()
    solution, reports = operators.solve(
        ratio * root * values,
        values / root,
        guide.double(),
        (ratio * count).expand(values.shape[0], -1, -1),
        torch.zeros_like(values[:, 0], dtype=torch.uint8),
        epsilon,
        radius,
        rtol,
        maxiter,
    )
    checks.warn_of_unconverged(op, reports, rtol)
    return form.restore((solution * root).clamp(0, 1).to(pixels.dtype))


def local_affine_smooth(
    result: Any,
    content: Any,
    *,
    radius: int = 1,
    epsilon: float = 1e-3,
    sigma_xy: float = 15.0,
    sigma_rgb: float = 0.1,
) -> Any:
    """A stylised picture as smooth local changes of the photograph's colours.

    In the window around each pixel the affine map that takes the content's colours to the result's
    is fitted, with a penalty on its distance from the identity. The maps are averaged with the
    weights of a bilateral filter of the content, and each pixel of the content goes through its
    own. What is left of the result has the content's grain and edges.

    Args:
        result: the stylised picture, of any kind that `photorealistic_smooth` takes.
        content: the photograph, of the same size and number of channels.
        radius: of the windows, in pixels; they end at the border of the picture.
        epsilon: penalty on the maps, in units of squared colour.
        sigma_xy: of the bilateral filter, in pixels.
        sigma_rgb: the same in colour, of [0, 1].

    Returns:
        The picture in [0, 1], in the kind, shape and dtype of `result`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes do not fit, a value is not in its range or NaN, or an option is not
            positive.

    Reference: Luan et al. 2017, section 3.1, locally affine colour transforms.

    Example:
        >>> content = torch.rand(3, 6, 7)
        >>> same = local_affine_smooth(content, content)
        >>> torch.allclose(same, content, atol=1e-3)
        True
    """
    op = "local_affine_smooth"
    pixels, guide, form = _read_pair(op, result, content)
    if pixels.shape[1] != guide.shape[1]:
        wanted = f"(..., {pixels.shape[1]}, {pixels.shape[2]}, {pixels.shape[3]})"
        raise checks.shape_error(op, "content", wanted, guide)
    checks.expect_count(op, "radius", radius)
    options = {"epsilon": epsilon, "sigma_xy": sigma_xy, "sigma_rgb": sigma_rgb}
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{op}: expected {name} to be a number, got {value!r}")
        if not 0 < value < float("inf"):
            raise ValueError(f"{op}: expected {name} to be positive, got {value}")
    colours = guide.double()
    maps = _local_maps(pixels.double(), colours, radius, epsilon)
    features = bilateral_features(colours, sigma_xy, sigma_rgb)
    smooth = GaussianFilter(features).filter(maps.flatten(1, 2).flatten(2), "after")
    smooth = smooth.view(maps.shape)
    changed = (smooth[:, :, :-1] * colours[:, None]).sum(2) + smooth[:, :, -1]
    return form.restore(changed.clamp(0, 1).to(pixels.dtype))


def _local_maps(result: Tensor, content: Tensor, radius: int, epsilon: float) -> Tensor:
    """The affine map of colours around each pixel: (B, C, H, W) twice -> (B, C, C + 1, H, W)."""
    channels = content.shape[1]

    def mean(planes: Tensor) -> Tensor:
        batch, *count, height, width = planes.shape
        flat = planes.reshape(batch, -1, height, width)
        means = F.avg_pool2d(flat, 2 * radius + 1, 1, radius, count_include_pad=False)
        return means.view(batch, *count, height, width)

    def last(matrix: Tensor) -> Tensor:
        return matrix.movedim((1, 2), (-2, -1))

    change = result - content
    mean_content, mean_change = mean(content), mean(change)
    spread = mean(content[:, :, None] * content[:, None]) - (
        mean_content[:, :, None] * mean_content[:, None]
    )
    shared = mean(content[:, :, None] * change[:, None]) - (
        mean_content[:, :, None] * mean_change[:, None]
    )
    eye = torch.eye(channels, dtype=content.dtype, device=content.device)
    slope = torch.linalg.solve(last(spread) + epsilon * eye, last(shared)) + eye
    slope = slope.movedim((-1, -2), (1, 2))
    offset = mean_content + mean_change - (slope * mean_content[:, None]).sum(2)
    return torch.cat([slope, offset[:, :, None]], 2)


def _read_pair(op: str, result: Any, content: Any) -> tuple[Tensor, Tensor, Form]:
    """Pixels of both, the second one's repeated for a batch and without an alpha channel."""
    pixels, form = read_picture(op, "result", result)
    guide, _ = read_picture(op, "content", content)
    if pixels.shape[2:] != guide.shape[2:] or guide.shape[0] not in (1, pixels.shape[0]):
        wanted = f"(..., {pixels.shape[2]}, {pixels.shape[3]})"
        raise checks.shape_error(op, "content", wanted, guide)
    return pixels, guide[:, :3].expand(pixels.shape[0], -1, -1, -1), form


def _count_windows(like: Tensor, radius: int) -> Tensor:
    """(H, W): how many windows inside the image hold each pixel."""

    def along(side: int) -> Tensor:
        index = torch.arange(side, dtype=like.dtype, device=like.device)
        first = (index - radius).clamp(min=radius)
        last = (index + radius).clamp(max=side - 1 - radius)
        return last - first + 1

    return along(like.shape[2])[:, None] * along(like.shape[3])
