"""Makes a stylised photograph look like one: its colours follow the content's edges.

Reference: Li, Liu, Li, Yang, Kautz 2018, A Closed-form Solution to Photorealistic Image
Stylization, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyfast.ops import _matting_checks as checks
from pyfast.ops import _matting_operators as operators
from pyfast.ops._pictures import read_picture

__all__ = ["photorealistic_smooth"]


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
    pixels, form = read_picture(op, "result", result)
    guide, _ = read_picture(op, "content", content)
    if pixels.shape[2:] != guide.shape[2:] or guide.shape[0] not in (1, pixels.shape[0]):
        wanted = f"(..., {pixels.shape[2]}, {pixels.shape[3]})"
        raise checks.shape_error(op, "content", wanted, guide)
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
        guide[:, :3].double().expand(values.shape[0], -1, -1, -1),
        (ratio * count).expand(values.shape[0], -1, -1),
        torch.zeros_like(values[:, 0], dtype=torch.uint8),
        epsilon,
        radius,
        rtol,
        maxiter,
    )
    checks.warn_of_unconverged(op, reports, rtol)
    return form.restore((solution * root).clamp(0, 1).to(pixels.dtype))


def _count_windows(like: Tensor, radius: int) -> Tensor:
    """(H, W): how many windows inside the image hold each pixel."""

    def along(side: int) -> Tensor:
        index = torch.arange(side, dtype=like.dtype, device=like.device)
        first = (index - radius).clamp(min=radius)
        last = (index + radius).clamp(max=side - 1 - radius)
        return last - first + 1

    return along(like.shape[2])[:, None] * along(like.shape[3])
