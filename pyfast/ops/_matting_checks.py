"""What is wrong with a call of the matting Laplacian, in words."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch

from pyfast.ops._checks import (
    expect_choice,
    expect_count,
    expect_floats,
    expect_tensor,
    shape_error,
)
from pyfast.ops._matting_operators import count_pairs

__all__ = [
    "check_energy",
    "expect_choice",
    "expect_count",
    "expect_tensor",
    "read_image",
    "read_known",
    "shape_error",
]

MOST_RADIUS = 8
LEAST_EPSILON, MOST_EPSILON = 1e-300, 1e300  # so that its share of a window is a normal number
MOST_WEIGHT = 1e30  # added to the diagonal of a system: floats hold it, and sums of it
MOST_CUDA_CHANNELS = 7
MOST_CHANNELS = 16  # of an image whose systems are solved
_SCALES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.bool: 1.0}


def expect_window(op: str, epsilon: Any, radius: Any, size: tuple[int, int]) -> None:
    """Raises unless a window of `radius` fits an image (H, W) of `size`, and `epsilon` is good."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, Real):
        raise TypeError(f"{op}: expected epsilon to be a number, got {epsilon!r}")
    if not LEAST_EPSILON <= float(epsilon) < MOST_EPSILON:
        kind = "positive" if epsilon <= 0 else f"from {LEAST_EPSILON} to {MOST_EPSILON}"
        raise ValueError(f"{op}: expected epsilon to be {kind}, got {epsilon}")
    if isinstance(radius, bool) or not isinstance(radius, (int, np.integer)):
        raise TypeError(f"{op}: expected radius to be an integer, got {radius!r}")
    if not 1 <= radius <= MOST_RADIUS:
        raise ValueError(f"{op}: expected radius from 1 to {MOST_RADIUS}, got {radius}")
    side = 2 * radius + 1
    if min(size) < side:
        raise ValueError(
            f"{op}: expected an image of at least {side} x {side} pixels for radius {radius}, "
            f"got {size[0]} x {size[1]}"
        )


def expect_channels(op: str, image: Tensor) -> None:
    """Raises unless kernels for the device of image (..., D, H, W) hold so many colours."""
    count = image.shape[-3]
    if count < 1:
        raise ValueError(f"{op}: expected image with at least one channel, got none")
    if image.device.type == "cuda" and count > MOST_CUDA_CHANNELS:
        raise ValueError(
            f"{op}: expected image with at most {MOST_CUDA_CHANNELS} channels on CUDA, got {count}"
        )


def expect_iterations(op: str, rtol: Any, maxiter: Any) -> None:
    """Raises unless both say when iterations end."""
    if isinstance(rtol, bool) or not isinstance(rtol, Real):
        raise TypeError(f"{op}: expected rtol to be a number, got {rtol!r}")
    if not 0 < float(rtol) < 1:
        raise ValueError(f"{op}: expected rtol between 0 and 1, got {rtol}")
    expect_count(op, "maxiter", maxiter)


def complex_error(op: str, name: str, v: Any) -> TypeError:
    return TypeError(f"{op}: expected {name} of real numbers, got {v.dtype}")


def expect_solvable(op: str, image: Tensor) -> None:
    """Raises for more channels than the solver takes."""
    if image.shape[-3] > MOST_CHANNELS:
        raise ValueError(
            f"{op}: expected an image of at most {MOST_CHANNELS} channels, got {image.shape[-3]}"
        )


def expect_zero_sum(op: str, rhs: Tensor) -> None:
    """Raises unless each plane of (1, K, H, W) sums to 0 but for rounding."""
    sums, sizes = rhs.sum((2, 3)).abs(), rhs.abs().sum((2, 3))
    if shows_values(rhs) and bool((sums > 1e-9 * sizes).any()):
        raise ValueError(
            f"{op}: expected rhs that sums to 0 where there is no diag, got a sum of "
            f"{float(sums.max()):.3g}"
        )


def expect_finite(op: str, name: str, tensor: Tensor) -> None:
    """Raises where a value is NaN or infinite, if there are values to look at."""
    if shows_values(tensor) and not _is_finite(tensor):
        raise ValueError(f"{op}: expected {name} to be finite, got NaN or infinity")


def expect_weights(op: str, name: str, weight: Tensor) -> None:
    """Raises where a number is none that the diagonal of a system may get."""
    if shows_values(weight) and not bool(((weight >= 0) & (weight <= MOST_WEIGHT)).all()):
        raise ValueError(
            f"{op}: expected {name} to be finite, from 0 to {MOST_WEIGHT}, got values from "
            f"{weight.min():.3g} to {weight.max():.3g}"
        )


def read_diagonal(op: str, diag: Any, height: int, width: int) -> Tensor:
    """(1, H, W) in float64."""
    expect_tensor(op, "diag", diag)
    if tuple(diag.shape) not in ((height * width,), (height, width)):
        raise shape_error(op, "diag", f"({height * width},) or ({height}, {width})", diag)
    weight: Tensor = diag.reshape(1, height, width).to(torch.float64)
    expect_weights(op, "diag", weight)
    if shows_values(weight) and not bool((weight > 0).any()):
        raise ValueError(f"{op}: expected diag to be above 0 somewhere, got zeros")
    return weight


def warn_of_unconverged(op: str, reports: Tensor, rtol: float) -> None:
    """Warns if one of the solves (B, K, 3) did not reach `rtol`."""
    if not shows_values(reports) or bool((reports[..., 2] == 1).all()):
        return
    worst = reports.detach().flatten(0, 1)
    iterations, residual, _ = worst[worst[:, 1].argmax()].tolist()
    warnings.warn(
        f"{op}: stopped after {int(iterations)} iterations with a residual of {residual:.2g}, "
        f"wanted {rtol:.2g}; a larger maxiter or epsilon may help",
        RuntimeWarning,
        stacklevel=3,
    )


def shows_values(tensor: Tensor) -> bool:
    """Whether there are values to look at: not under a transform of torch, nor in a trace."""
    if torch.compiler.is_compiling() or _functorch.peek_interpreter_stack() is not None:
        return False
    return tensor.device.type != "meta"


def check_energy(v: Any, image: Any, epsilon: Any, radius: Any) -> None:
    """The arguments of `matting_energy`."""
    op = "matting_energy"
    expect_tensor(op, "v", v)
    expect_tensor(op, "image", image)
    expect_floats(op, v=v, image=image)
    if v.dim() not in (3, 4):
        raise shape_error(op, "v", "(C, H, W) or (B, C, H, W)", v)
    height, width = v.shape[-2:]
    forms = {(3, 3), (4, 4), (4, 3)}
    fits = (v.dim(), image.dim()) in forms and image.shape[-2:] == v.shape[-2:]
    if not fits or (image.dim() == 4 and image.shape[0] not in (1, v.shape[0])):
        wanted = f"(D, {height}, {width})"
        if v.dim() == 4:
            wanted += f" or ({v.shape[0]}, D, {height}, {width})"
        raise shape_error(op, "image", wanted, image)
    expect_channels(op, image)
    expect_window(op, epsilon, radius, (height, width))


def read_image(op: str, image: Any, epsilon: Any, radius: Any) -> Tensor:
    """(D, H, W) in float64 of an image of any dtype; raises for what cannot be one."""
    expect_tensor(op, "image", image)
    if image.dim() not in (2, 3) or image.shape[0] < 1:
        raise shape_error(op, "image", "(D, H, W) or (H, W)", image)
    planes = image if image.dim() == 3 else image[None]
    expect_channels(op, planes)
    expect_window(op, epsilon, radius, (planes.shape[1], planes.shape[2]))
    if planes.dtype in _SCALES:
        return planes.to(torch.float64) / _SCALES[planes.dtype]
    if not planes.is_floating_point():
        raise TypeError(f"{op}: expected image of floats, uint8 or uint16, got {image.dtype}")
    if not _is_finite(planes):
        raise ValueError(f"{op}: expected image to be finite, got NaN or infinity")
    return planes.to(torch.float64)


def expect_entries(op: str, image: Tensor, radius: int) -> None:
    """Raises unless 32-bit indices count the entries of the matrix of image (D, H, W)."""
    entries = count_pairs(image.shape[1], radius) * count_pairs(image.shape[2], radius)
    if entries >= 2**31:
        raise ValueError(
            f"{op}: expected an image whose matrix has less than 2**31 entries, got {entries}; "
            "MattingLaplacian multiplies and solves without a matrix"
        )


def read_known(op: str, known: Any, image: Tensor) -> Tensor:
    """(H, W) of uint8, or empty for None."""
    if known is None:
        return torch.empty(0, dtype=torch.uint8, device=image.device)
    expect_tensor(op, "known", known)
    if known.shape != image.shape[1:]:
        raise shape_error(op, "known", f"{tuple(image.shape[1:])}", known)
    return known.ne(0).to(torch.uint8)


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are. A sum reads them once, and tells unless it overflows."""
    return math.isfinite(tensor.detach().sum()) or bool(tensor.isfinite().all())
