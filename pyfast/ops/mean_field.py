"""Mean field of a dense CRF over any features, and the free energy that it lowers.

Kernels, methods and normalisations are those of `pyfast.ops.gaussian_filter`. Under autocast
energies may be in half precision and all is computed in float32.

Reference: Krähenbühl, Koltun 2011, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyfast._native import _C
from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops._autograd import is_plain
from pyfast.ops._dense_crf_operators import NORMALIZATIONS
from pyfast.ops._dense_crf_reference import crf_free_energy_reference, mean_field_reference
from pyfast.ops._mean_field import (
    Kernel,
    bound_all,
    built,
    in_float32,
    iterate,
    pairwise,
    symmetric,
    symmetric_or_none,
    unknown_points,
)
from pyfast.ops.gaussian_filter import GaussianFilter

__all__ = [
    "crf_free_energy",
    "crf_free_energy_reference",
    "mean_field",
    "mean_field_reference",
]

_MOST_KERNELS = 16  # of one fused call


@in_float32
def mean_field(
    unary: Tensor,
    kernels: Sequence[Kernel],
    *,
    compatibility: Tensor | None = None,
    iterations: int = 10,
    normalization: str = "symmetric",
) -> Tensor:
    """Mean field of a dense CRF over any features: volumes, point clouds, images.

    Q <- softmax(-unary - mu sum_m w_m K~_m Q), from Q = softmax(-unary) on; the message of a point
    to itself is kept, as everybody does.

    Args:
        unary: energies -log p, (B, L, N). A point with a NaN, or with nothing but +inf, counts as
            unknown: its neighbours decide, and it spoils none of them.
        kernels: pairs of a `GaussianFilter`, or features (B, d, N) to make a lattice of, and the
            weight w of the kernel.
        compatibility: costs mu of two labels, (L, L); symmetrised. None: Potts, minus the identity.
        iterations: how many. 0: softmax(-unary).
        normalization: of every kernel; see `pyfast.ops.gaussian_filter`.

    Returns:
        Marginals Q, (B, L, N). On the CPU, in float32 and where nobody wants a gradient, lattices
        go through the kernels of `dense_crf`, which keep messages in half precision: Q is then
        within 2e-3 of what it is otherwise, and within 1e-4 on average.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: a shape, device, number or word is wrong.

    Reference: Krähenbühl, Koltun 2011, algorithm 1; 2013 for the normalisation.

    Example:
        >>> unary = torch.tensor([[[0.0, 0.2], [1.0, 0.0]]])
        >>> near = GaussianFilter(torch.tensor([[[0.0, 0.1]]]), method="exact")
        >>> mean_field(unary, [(near, 3.0)]).argmax(1)
        tensor([[0, 0]])
    """
    op = "mean_field"
    checks.expect_real(op, unary=unary)
    checks.check_labels(op, "unary", unary, 3, "(B, L, N)")
    checks.check_compatibility(op, compatibility, unary)
    checks.expect_natural(op, "iterations", iterations)
    pairs = built(op, kernels, unary, normalization)
    weights = {f"kernels[{i}][1]": weight for i, (_, weight) in enumerate(pairs)}
    checks.check_costs(op, weights, compatibility)
    if _is_served(unary, pairs, compatibility, normalization):
        return _fused(unary, pairs, compatibility, iterations, normalization)
    try:
        filters = bound_all(pairs, normalization)
        return iterate(unary, filters, symmetric_or_none(compatibility), iterations)
    except NotImplementedError as error:
        raise NotImplementedError(f"{op}: {error}") from None


def _is_served(
    unary: Tensor,
    kernels: Sequence[tuple[GaussianFilter, float | Tensor]],
    compatibility: Tensor | None,
    normalization: str,
) -> bool:
    """Whether the kernels of `dense_crf`, behind their door for arrays, take the call whole."""
    if normalization == "none" or unary.dtype != torch.float32 or unary.numel() == 0:
        return False
    if not 1 <= len(kernels) <= _MOST_KERNELS or any(k._lattice is None for k, _ in kernels):
        return False
    values = (unary, compatibility, *(v for k, weight in kernels for v in (k.features, weight)))
    return all(is_plain(value) for value in values if isinstance(value, Tensor))


def _fused(
    unary: Tensor,
    kernels: Sequence[tuple[GaussianFilter, float | Tensor]],
    compatibility: Tensor | None,
    iterations: int,
    normalization: str,
) -> Tensor:
    labels, points = unary.shape[1:]
    costs = -torch.eye(labels) if compatibility is None else symmetric(compatibility).float()
    lattices = [kernel._lattice.words for kernel, _ in kernels if kernel._lattice is not None]
    words = lattices[0] if len(lattices) == 1 else torch.cat(lattices)
    marginals = _C.mean_field(
        unary.detach().numpy(),
        np.zeros((0, 0, 0), np.float32),
        words.view(torch.float32).numpy(),
        np.zeros((len(kernels), 3), np.float32),
        torch.stack([costs * weight for _, weight in kernels]).detach().numpy(),
        tuple(len(lattice) for lattice in lattices),
        (NORMALIZATIONS.index(normalization),) * len(kernels),
        (1, points),
        iterations,
    )
    return torch.from_numpy(marginals)


@in_float32
def crf_free_energy(
    marginals: Tensor,
    unary: Tensor,
    kernels: Sequence[Kernel],
    *,
    compatibility: Tensor | None = None,
    normalization: str = "symmetric",
) -> Tensor:
    """What mean field lowers: sum Q log Q + sum Q unary + 1/2 sum Q mu sum_m w_m K~_m Q.

    It differs from the Kullback-Leibler divergence of Q and the CRF by a constant, log Z. The last
    term has the factor 1/2 that every pair needs to count once.

    Args:
        marginals: Q, (B, L, N).
        unary: energies, (B, L, N). Those of a point that `mean_field` takes for unknown count
            nothing, and neither does +inf where Q is 0.
        kernels: as for `mean_field`.
        compatibility: as for `mean_field`.
        normalization: as for `mean_field`.

    Returns:
        (B,).

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: a shape, device, number or word is wrong.

    Reference: Krähenbühl, Koltun 2011, supplement, equation 7.

    Example:
        >>> half = torch.full((1, 2, 1), 0.5)
        >>> crf_free_energy(half, torch.zeros(1, 2, 1), [])
        tensor([-0.6931])
    """
    op = "crf_free_energy"
    checks.expect_real(op, marginals=marginals, unary=unary)
    checks.check_labels(op, "unary", unary, 3, "(B, L, N)")
    checks.check_same_shape(op, "marginals", marginals, unary)
    checks.check_compatibility(op, compatibility, unary)
    filters = bound_all(built(op, kernels, unary, normalization), normalization)
    try:
        message = pairwise(marginals, filters, symmetric_or_none(compatibility))
    except NotImplementedError as error:
        raise NotImplementedError(f"{op}: {error}") from None
    # An unknown point costs nothing, and neither does an impossible label of no probability.
    costs = unary.masked_fill(unknown_points(unary) | ((marginals == 0) & unary.isinf()), 0)
    return (torch.xlogy(marginals, marginals) + marginals * (costs + 0.5 * message)).sum((1, 2))
