"""What is wrong with a call of the dense CRF, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from pyfast.ops._checks import FLOATS, expect_choice, expect_tensor, shape_error
from pyfast.ops._dense_crf_operators import METHODS, NORMALIZATIONS

MOST_FEATURES = 32
MOST_CORNERS = 2**31 - 64
MOST_COST = 1e30  # of two labels: sums of larger ones leave float32


def expect_natural(op: str, name: str, value: Any) -> None:
    """Raises unless `value` is an integer that is not negative."""
    if isinstance(value, bool) or not isinstance(value, (Integral, torch.SymInt)):
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"{op}: expected {name} not to be negative, got {value}")
    if not value < 2**63:
        raise ValueError(f"{op}: expected {name} below 2**63, got {value}")


def expect_number(
    op: str, name: str, value: Any, *, positive: bool = False, dtype: torch.dtype | None = None
) -> None:
    """Raises unless `value` is a finite number, or a tensor without dimensions; so in `dtype`."""
    if isinstance(value, Tensor):
        if value.dim() != 0 or not value.is_floating_point():
            raise TypeError(
                f"{op}: expected {name} to be a number or a float tensor without dimensions, got "
                f"{value.dtype} of shape {tuple(value.shape)}"
            )
        if is_hidden(value):
            return
        value = value.item()
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{op}: expected {name} to be a number, got {value!r}")
    if isinstance(value, int) and abs(value) >= 2**1024:  # beyond any float
        value = math.inf
    # Comparisons are what torch.compile knows of a float that is an input.
    if not -math.inf < value < math.inf or (positive and value <= 0):
        kind = "positive and finite" if positive else "finite"
        raise ValueError(f"{op}: expected {name} to be {kind}, got {value}")
    if dtype is not None:
        range = torch.finfo(dtype)
        if abs(value) > range.max or (positive and value < range.tiny):
            size = "small" if abs(value) < 1 else "large"
            raise ValueError(f"{op}: expected {name} not to be too {size} for {dtype}, got {value}")


def expect_values(op: str, like: Tensor, **numbers: Any) -> None:
    """Raises where a number is a tensor on meta, and what it goes with is not."""
    for name, value in numbers.items():
        if isinstance(value, Tensor) and value.is_meta and not like.is_meta:
            raise ValueError(f"{op}: expected {name} to have a value, got a tensor on meta")


def as_list(op: str, name: str, value: Any) -> list[Any]:
    """The items of `value`; raises TypeError where it has none."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(
            f"{op}: expected {name} to be a number or a sequence of them, got {value!r}"
        )
    return list(value)


def expect_real(op: str, **tensors: Any) -> None:
    """Raises unless all are dense tensors of float32, or all of float64, on one device."""
    (first, leader), *_ = tensors.items()
    for name, tensor in tensors.items():
        expect_tensor(op, name, tensor)
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{op}: expected {name} of float32 or float64, got {tensor.dtype}")
        if tensor.dtype != leader.dtype:
            raise TypeError(
                f"{op}: expected {name} of the dtype of {first}, {leader.dtype}, got {tensor.dtype}"
            )
        if tensor.device != leader.device:
            raise ValueError(
                f"{op}: expected {name} on the device of {first}, {leader.device}, got "
                f"{tensor.device}"
            )


def check_features(op: str, features: Any, method: Any, cutoff: Any) -> None:
    """The arguments of `GaussianFilter`."""
    expect_real(op, features=features)
    if features.dim() != 3 or not 1 <= features.shape[1] <= MOST_FEATURES:
        wanted = f"(B, d, N) with d from 1 to {MOST_FEATURES}"
        raise shape_error(op, "features", wanted, features)
    expect_choice(op, "method", method, METHODS)
    check_point_count(op, features.shape[0] * features.shape[2], features.shape[1])
    if cutoff is not None:
        expect_number(op, "cutoff", cutoff, positive=True)
        if method != "exact":
            raise ValueError(f'{op}: expected cutoff with method "exact" alone, got {method!r}')


def check_point_count(op: str, points: int, dims: int) -> None:
    """Corners of all simplices are numbered by 32-bit integers."""
    if points * (dims + 1) > MOST_CORNERS:
        raise ValueError(
            f"{op}: expected at most {MOST_CORNERS // (dims + 1)} points of {dims} features, got "
            f"{points}"
        )


def check_spread(op: str, features: Tensor, error: Exception | None = None) -> None:
    """What only the values of features tell, where a lattice of them ended with `error`."""
    wrong = 0 if is_hidden(features) else int((~torch.isfinite(features)).sum())
    if wrong:
        raise ValueError(f"{op}: expected finite features, got {wrong} NaN or infinite values")
    if "lattice cells" in str(error):
        raise ValueError(
            f"{op}: expected features within 2**28 lattice cells of 0, got up to "
            f"{features.abs().max().item():.3g}; is a sigma too small?"
        )


def check_pixels(op: str, image: Tensor, features: Tensor, error: Exception) -> None:
    """What only the values of an image tell, and of features made of it."""
    wrong = 0 if is_hidden(image) else int((~torch.isfinite(image)).sum())
    if wrong:
        raise ValueError(f"{op}: expected a finite image, got {wrong} NaN or infinite values")
    check_spread(op, features, error)


def check_values(op: str, values: Any, features: Tensor, normalization: Any) -> None:
    """The arguments of `GaussianFilter.filter` and `.transpose`."""
    expect_choice(op, "normalization", normalization, NORMALIZATIONS)
    expect_real(op, features=features, values=values)
    batch, _, points = features.shape
    if values.dim() != 3 or (values.shape[0], values.shape[2]) != (batch, points):
        raise shape_error(op, "values", f"({batch}, C, {points})", values)


def check_labels(op: str, name: str, tensor: Tensor, dims: int, form: str) -> None:
    """`tensor` has the dimensions of `form`, and labels."""
    if tensor.dim() != dims or tensor.shape[1] < 1:
        raise shape_error(op, name, f"{form} with L at least 1", tensor)


def check_compatibility(op: str, compatibility: Any, unary: Tensor) -> None:
    """None or a matrix of labels by labels."""
    if compatibility is None:
        return
    expect_real(op, unary=unary, compatibility=compatibility)
    labels = unary.shape[1]
    if tuple(compatibility.shape) != (labels, labels):
        raise shape_error(op, "compatibility", f"({labels}, {labels})", compatibility)
    if not is_hidden(compatibility) and not bool(torch.isfinite(compatibility).all()):
        raise ValueError(f"{op}: expected a finite compatibility, got NaN or infinite entries")


def check_costs(op: str, weights: dict[str, Any], compatibility: Tensor | None) -> None:
    """Weights, and what they make of the compatibility, that energies can be added up of."""
    largest = 1.0
    if compatibility is not None and compatibility.numel() and not is_hidden(compatibility):
        largest = max(largest, float(compatibility.detach().abs().max()))
        if largest > MOST_COST:
            raise ValueError(f"{op}: expected compatibility up to {MOST_COST:g}, got {largest:.3g}")
    for name, weight in weights.items():
        if isinstance(weight, Tensor):
            if is_hidden(weight):
                continue
            weight = weight.item()
        if abs(weight) * largest > MOST_COST:
            times = f" times a compatibility of {largest:.3g}" if largest > 1 else ""
            raise ValueError(f"{op}: expected {name}{times} up to {MOST_COST:g}, got {weight:.3g}")


def check_finite(op: str, features: Tensor) -> None:
    """Finite features, where they can be looked at."""
    if not is_hidden(features) and not bool(torch.isfinite(features).all()):
        check_spread(op, features)


def check_fits(op: str, name: str, features: Tensor, like: Tensor) -> None:
    """Features have the images and points of `like`, its dtype and device."""
    expect_real(op, unary=like, **{name: features})
    if (features.shape[0], features.shape[2]) != (like.shape[0], like.shape[2]):
        raise shape_error(op, name, f"({like.shape[0]}, d, {like.shape[2]})", features)


def check_same_shape(op: str, name: str, tensor: Tensor, unary: Tensor) -> None:
    """`tensor` has the shape of unary."""
    if tensor.shape != unary.shape:
        raise shape_error(op, name, str(tuple(unary.shape)), tensor)


def check_size(op: str, size: Any) -> None:
    """A sequence of positive integers."""
    if not isinstance(size, Sequence) or isinstance(size, str):
        raise TypeError(f"{op}: expected size to be a tuple of integers, got {size!r}")
    for length in size:
        expect_natural(op, "size", length)
    if not size or min(size) < 1:
        raise ValueError(f"{op}: expected positive sizes, got {tuple(size)}")


def check_sigmas(
    op: str, sigmas: Sequence[Any], count: int, dtype: torch.dtype, name: str = "sigma"
) -> None:
    """As many positive numbers as there are features; so in `dtype`."""
    if len(sigmas) != count:
        raise ValueError(f"{op}: expected {name} of {count} numbers, got {len(sigmas)}")
    for sigma in sigmas:
        expect_number(op, name, sigma, positive=True, dtype=dtype)


def is_hidden(tensor: Tensor) -> bool:
    """Whether the values of a tensor cannot be looked at here."""
    if torch.compiler.is_compiling() or tensor.is_meta or isinstance(tensor, FakeTensor):
        return True
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def check_image(op: str, image: Any, unary: Tensor | None = None) -> None:
    """An image of any channels: uint8 or float."""
    expect_tensor(op, "image", image)
    if not image.is_floating_point() and image.dtype != torch.uint8:
        raise TypeError(f"{op}: expected image of uint8 or of floats, got {image.dtype}")
    if image.dim() != 4 or image.shape[1] < 1 or image.shape[1] > MOST_FEATURES - 2:
        wanted = f"(B, C, H, W) with C from 1 to {MOST_FEATURES - 2}"
        raise shape_error(op, "image", wanted, image)
    if unary is None:
        return
    batch, _, height, width = unary.shape
    if (image.shape[0], *image.shape[2:]) != (batch, height, width):
        raise ValueError(
            f"{op}: expected image of shape ({batch}, C, {height}, {width}) to go with unary "
            f"{tuple(unary.shape)}, got {tuple(image.shape)}"
        )
    if image.device != unary.device:
        raise ValueError(
            f"{op}: expected image on the device of unary, {unary.device}, got {image.device}"
        )


def check_dense_crf(
    unary: Any,
    image: Any,
    numbers: dict[str, Any],
    compatibility: Any,
    iterations: Any,
    normalization: Any,
    method: Any,
) -> None:
    """The arguments of `dense_crf`."""
    op = "dense_crf"
    expect_real(op, unary=unary)
    check_labels(op, "unary", unary, 4, "(B, L, H, W)")
    check_image(op, image, unary)
    for name, value in numbers.items():
        expect_number(op, name, value, positive=name.find("sigma") >= 0, dtype=unary.dtype)
    expect_values(op, unary, **numbers)
    check_compatibility(op, compatibility, unary)
    weights = {name: value for name, value in numbers.items() if name.endswith("weight")}
    check_costs(op, weights, compatibility)
    expect_natural(op, "iterations", iterations)
    expect_choice(op, "normalization", normalization, NORMALIZATIONS)
    expect_choice(op, "method", method, METHODS)
    check_point_count(op, unary.shape[0] * unary.shape[2] * unary.shape[3], image.shape[1] + 2)


def check_kernels(op: str, kernels: Any) -> None:
    """A sequence of (filter or features, weight)."""
    if not isinstance(kernels, Sequence) or isinstance(kernels, str):
        raise TypeError(f"{op}: expected kernels to be a sequence of pairs, got {kernels!r}")
    for i, kernel in enumerate(kernels):
        if not isinstance(kernel, Sequence) or len(kernel) != 2:
            raise TypeError(
                f"{op}: expected kernels[{i}] to be (GaussianFilter or features, weight), got "
                f"{type(kernel).__name__}"
            )
        expect_number(op, f"kernels[{i}][1]", kernel[1])
