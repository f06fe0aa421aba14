"""What mean field takes to iterate, over any filters: used by `mean_field` and `dense_crf`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeAlias

import torch
from torch import Tensor

from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops._autograd import is_autocast_on, without_autocast
from pyfast.ops._checks import HALVES, expect_choice
from pyfast.ops._dense_crf_operators import NORMALIZATIONS
from pyfast.ops.gaussian_filter import GaussianFilter

Kernel: TypeAlias = "tuple[GaussianFilter | Tensor, float | Tensor]"
Filter = Callable[[Tensor], Tensor]
P = ParamSpec("P")


def in_float32(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Lets a function compute under autocast as it does without, on arguments in half precision
    too."""

    @wraps(function)
    def outer(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        first = next(tensors, None)
        if first is None or not is_autocast_on(first.device.type):
            return function(*args, **kwargs)
        with without_autocast(first.device.type):
            named = {name: _wide(value) for name, value in kwargs.items()}
            return function(*map(_wide, args), **named)  # type: ignore[arg-type]

    return outer


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value


def built(
    op: str, kernels: Sequence[Kernel], like: Tensor, normalization: str
) -> list[tuple[GaussianFilter, float | Tensor]]:
    """The kernels, checked, with filters instead of features."""
    checks.check_kernels(op, kernels)
    expect_choice(op, "normalization", normalization, NORMALIZATIONS)
    found = []
    for i, (kernel, weight) in enumerate(kernels):
        checks.expect_values(op, like, **{f"kernels[{i}][1]": weight})
        if not isinstance(kernel, GaussianFilter):
            checks.check_features(op, kernel, "lattice", None)
            kernel = GaussianFilter(kernel)
        checks.check_fits(op, f"kernels[{i}][0]", kernel.features, like)
        found.append((kernel, weight))
    return found


def bound_all(
    kernels: Sequence[tuple[GaussianFilter, float | Tensor]], normalization: str
) -> list[tuple[Filter, float | Tensor]]:
    return [(bound(kernel, normalization), weight) for kernel, weight in kernels]


def bound(kernel: GaussianFilter, normalization: str) -> Filter:
    return lambda values: kernel._normalized(values, normalization)


def symmetric_or_none(compatibility: Tensor | None) -> Tensor | None:
    return None if compatibility is None else symmetric(compatibility)


def symmetric(compatibility: Tensor) -> Tensor:
    return (compatibility + compatibility.mT) / 2


def unknown_points(unary: Tensor) -> Tensor:
    """Which points have a NaN, or nothing but +inf, for an energy: (B, 1, N)."""
    return torch.isnan(unary).any(1, keepdim=True) | (unary == math.inf).all(1, keepdim=True)


def iterate(
    unary: Tensor,
    filters: Sequence[tuple[Filter, float | Tensor]],
    compatibility: Tensor | None,
    iterations: int,
) -> Tensor:
    logits = -unary.masked_fill(unknown_points(unary), 0).clamp(-1e30, 1e30)
    marginals = torch.softmax(logits, 1)
    for _ in range(iterations):
        marginals = torch.softmax(logits - pairwise(marginals, filters, compatibility), 1)
    return marginals


def pairwise(
    marginals: Tensor,
    filters: Sequence[tuple[Filter, float | Tensor]],
    compatibility: Tensor | None,
) -> Tensor:
    message = torch.zeros_like(marginals)
    for filter, weight in filters:
        message = message + filter(marginals) * weight
    if compatibility is None:
        return -message
    return torch.einsum("kl,bl...->bk...", compatibility, message)
