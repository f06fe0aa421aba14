"""What mean field takes to iterate, over any filters: used by `mean_field` and `dense_crf`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import HALVES, expect_choice
from pyfast.ops._dense_crf_operators import NORMALIZATIONS
from pyfast.ops.gaussian_filter import GaussianFilter

Kernel: TypeAlias = "tuple[GaussianFilter | Tensor, float | Tensor]"
Filter = Callable[[Tensor], Tensor]


def is_cast(unary: Any) -> bool:
    """Whether autocast is on, under which all is computed in float32 as without it."""
    return isinstance(unary, Tensor) and is_autocast_on(unary.device.type)


def wide(tensor: Any) -> Any:
    return tensor.float() if isinstance(tensor, Tensor) and tensor.dtype in HALVES else tensor


def built(
    op: str, kernels: Sequence[Kernel], like: Tensor, normalization: str
) -> list[tuple[GaussianFilter, float | Tensor]]:
    """The kernels, checked, with filters instead of features."""
    checks.check_kernels(op, kernels)
    expect_choice(op, "normalization", normalization, NORMALIZATIONS)
    found = []
    for i, (kernel, weight) in enumerate(kernels):
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


def iterate(
    unary: Tensor,
    filters: Sequence[tuple[Filter, float | Tensor]],
    compatibility: Tensor | None,
    iterations: int,
) -> Tensor:
    unknown = (torch.isnan(unary).any(1) | (unary == math.inf).all(1))[:, None]
    logits = -unary.masked_fill(unknown, 0).clamp(-1e30, 1e30)
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
