"""The guided filter: a picture smoothed along the edges of another one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._autograd import differentiable
from pyfast.ops._checks import expect_number
from pyfast.ops._fake import register_fake
from pyfast.ops._layouts import empty_like_image
from pyfast.ops._matting_checks import expect_finite
from pyfast.ops._pictures import read_picture
from pyfast.ops._vmap import fold_vmap

MOST_GUIDE_CHANNELS = 4
ROUNDING = 1e-13  # of the mean square of a channel: more than rounding leaves of its variance


def guided_filter(guide: Any, input: Any, radius: int = 8, epsilon: float = 1e-4) -> Any:
    """Smooths `input` where `guide` is smooth, and keeps edges where `guide` has some.

    In each window of 2 radius + 1 pixels squared `input` is fitted by an affine function of the
    colours of `guide`; the result at a pixel is the mean of what the windows around it say. It is
    the window fit of the matting Laplacian, taken once and forwards. With a rough mask as `input`
    and the picture as `guide` it is a quick matte.

    Args:
        guide: a picture of 1 to 4 channels: tensor (C, H, W), (B, C, H, W) or (H, W), array
            (H, W, C) or (H, W), or Pillow's; floats of any range, or uint8 and uint16, scaled to
            [0, 1].
        input: what is filtered, of the same size, with any number of channels.
        radius: of the windows in pixels, from 0. Windows are clipped at the edges of the picture.
        epsilon: added to the variances of `guide`, in its units squared: where they are smaller,
            it smooths. 1e-4 keeps edges of 1 percent and more, in [0, 1]. At least 1e-13 of the
            mean square is added, as less is lost in rounding.

    Returns:
        The filtered picture, of the kind, shape and dtype of `input`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a shape or a value does not fit, or a value is NaN or infinite.

    Differentiable in both pictures. float32 and float64; sums are taken in float64.

    Reference: He, Sun, Tang 2013, Guided Image Filtering, equations 11 to 19.

    Example:
        >>> step = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
        >>> guided_filter(step, 0.5 * step, radius=2, epsilon=1e-6)
        tensor([[0.0000, 0.0000, 0.0000, 0.5000, 0.5000, 0.5000]])
    """
    op = "guided_filter"
    channels = tuple(range(1, MOST_GUIDE_CHANNELS + 1))
    expect_number(op, "radius", radius, whole=True, least=0)
    expect_number(op, "epsilon", epsilon, above=0)
    pixels, form = read_picture(op, "input", input, channels=(), bounded=False)
    guide_pixels, _ = read_picture(op, "guide", guide, channels=channels, bounded=False)
    if (guide_pixels.shape[0], *guide_pixels.shape[2:]) != (pixels.shape[0], *pixels.shape[2:]):
        raise ValueError(
            f"{op}: expected guide of the batch and size of input, {tuple(pixels.shape)}, got "
            f"{tuple(guide_pixels.shape)}"
        )
    if guide_pixels.device != pixels.device:
        raise ValueError(
            f"{op}: expected guide on the device of input, {pixels.device}, got "
            f"{guide_pixels.device}"
        )
    # One such value would be in the running sums of all that follows.
    expect_finite(op, "guide", guide_pixels)
    expect_finite(op, "input", pixels)
    dtype = torch.promote_types(pixels.dtype, guide_pixels.dtype)
    result = _guided_filter(guide_pixels.to(dtype), pixels.to(dtype), radius, epsilon)
    return form.restore(result)


def guided_filter_reference(guide: Tensor, input: Tensor, radius: int, epsilon: float) -> Tensor:
    """The definition of `guided_filter`: (B, G, H, W), (B, C, H, W) -> (B, C, H, W).

    Reference: He, Sun, Tang 2013, equations 14 (with the constant), 15 and 16.
    """
    count = _box(torch.ones_like(input[:1, :1]), radius)

    def mean(x: Tensor) -> Tensor:
        return _box(x.flatten(1, -3), radius).view_as(x) / count

    mean_guide, mean_input = mean(guide), mean(input)
    covariance = mean(guide[:, :, None] * guide[:, None]) - (
        mean_guide[:, :, None] * mean_guide[:, None]
    )
    correlation = mean(input[:, :, None] * guide[:, None]) - (
        mean_input[:, :, None] * mean_guide[:, None]
    )
    identity = torch.eye(guide.shape[1], dtype=guide.dtype, device=guide.device)
    # Less would be below the rounding of variances.
    ridge = (ROUNDING * mean(guide**2)).clamp(min=epsilon)
    # Pixels first, as `solve` wants matrices last.
    matrix = covariance.permute(0, 3, 4, 1, 2) + ridge.permute(0, 2, 3, 1)[..., None] * identity
    slope = torch.linalg.solve(matrix, correlation.permute(0, 3, 4, 2, 1)).permute(0, 4, 3, 1, 2)
    constant = mean_input - (slope * mean_guide[:, None]).sum(2)
    return (mean(slope) * guide[:, None]).sum(2) + mean(constant)


def _box(x: Tensor, radius: int) -> Tensor:
    """Sums over windows, clipped at the edges: along columns, then along rows."""
    kernel = 2 * radius + 1
    columns = F.avg_pool2d(x, (kernel, 1), 1, (radius, 0), count_include_pad=True)
    return F.avg_pool2d(columns, (1, kernel), 1, (0, radius), count_include_pad=True) * kernel**2


# --- what torch must know of the operator ---------------------------------------------------------


@torch.library.impl("pyfast::guided_filter", "CUDA")
def _(guide: Tensor, input: Tensor, radius: int, epsilon: float) -> Tensor:
    return guided_filter_reference(guide.double(), input.double(), radius, epsilon).to(input.dtype)


@register_fake("pyfast::guided_filter")
def _(guide: Tensor, input: Tensor, radius: int, epsilon: float) -> Tensor:
    torch._check(guide.dim() == 4 and input.dim() == 4)
    return empty_like_image(input, input.shape, input.dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    def defined(guide: Tensor, input: Tensor) -> Tensor:
        return guided_filter_reference(guide, input, *ctx.options)

    return *torch.func.vjp(defined, *ctx.saved_tensors)[1](grad), None, None


_guided_filter = differentiable(
    torch.ops.pyfast.guided_filter.default, _setup, _backward, autocast=torch.float32
)
fold_vmap(torch.ops.pyfast.guided_filter.default)
