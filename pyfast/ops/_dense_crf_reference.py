"""Definitions in plain PyTorch: the Gaussian sum, the permutohedral lattice, the mean field.

They are slow, differentiable, and right in float64: what kernels are compared with.

References: Krähenbühl, Koltun 2011, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials; Adams, Baek, Davis 2010, Fast High-Dimensional Filtering Using the Permutohedral
Lattice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Filter = Callable[[Tensor], Tensor]


def spatial_features_reference(size: Sequence[int], sigma: float | Tensor) -> Tensor:
    """Positions over `sigma`, x before y before z: (len(size), points), in float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in reversed(size)]
    grid = torch.meshgrid(*reversed(axes), indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(grid)]) / sigma


def bilateral_features_reference(
    image: Tensor, sigma_xy: float | Tensor, sigma_rgb: float | Tensor
) -> Tensor:
    """(B, C, H, W) -> (B, 2 + C, H * W): x, y, then the channels, each over its sigma."""
    where = spatial_features_reference(image.shape[2:], sigma_xy).to(image)
    colours = image.flatten(2) / sigma_rgb
    return torch.cat([where.expand(image.shape[0], -1, -1), colours], 1)


# --- filters: (B, d, N), (B, K, N) -> (B, K, N) ---------------------------------------------------


def gaussian_matrix(features: Tensor) -> Tensor:
    """k(i, j) = exp(-|f_i - f_j|^2 / 2): (B, d, N) -> (B, N, N). Equation 3 with one sigma of 1."""
    difference = features[:, :, :, None] - features[:, :, None, :]
    return torch.exp(-0.5 * difference.square().sum(1))


def exact_filter_reference(features: Tensor, values: Tensor) -> Tensor:
    """The Gaussian sum itself."""
    return values @ gaussian_matrix(features)


def simplex(features: Tensor) -> tuple[Tensor, Tensor]:
    """Of points (d, N): vertices of their simplices (N, d + 1, d + 1), weights (N, d + 1).

    Section 3.2 and proposition 4.2 of Adams et al.; a vertex has d + 1 coordinates.
    """
    d = features.shape[0]
    i = torch.arange(d).to(features)
    scale = math.sqrt(2 / 3) * (d + 1) / ((i + 1) * (i + 2)).sqrt()
    scaled = features * scale[:, None]
    # y_j = sum_{i >= j} s_i - j s_{j-1}
    later = torch.cat([scaled.flip(0).cumsum(0).flip(0), torch.zeros_like(scaled[:1])])
    own = torch.cat([torch.zeros_like(scaled[:1]), scaled])
    y = (later - torch.arange(d + 1)[:, None].to(features) * own).T
    nearest = torch.round(y.detach() / (d + 1))
    excess = nearest.sum(1, keepdim=True)
    residual = y.detach() - nearest * (d + 1)
    # Descending; of equal ones the first comes first.
    order = torch.argsort(residual, dim=1, descending=True, stable=True)
    rank = torch.argsort(order, dim=1) + excess
    wrap = (rank < 0).to(y.dtype) - (rank > d).to(y.dtype)
    rank = (rank + wrap * (d + 1)).long()
    base = (nearest + wrap) * (d + 1)
    z = ((y - base) / (d + 1)).gather(1, torch.argsort(rank, dim=1))  # descending
    weights = torch.cat([1 + z[:, -1:] - z[:, :1], (z[:, :-1] - z[:, 1:]).flip(1)], 1)
    k = torch.arange(d + 1)
    canonical = k[:, None] - (d + 1) * (k[None, :] > d - k[:, None])  # (remainder, rank)
    vertices = base[:, None].long() + canonical.T[rank].transpose(1, 2)
    return vertices, weights


def lattice_filter_reference(
    features: Tensor, values: Tensor, *, closed: bool = False, transposed: bool = False
) -> Tensor:
    """Splat, blur by [1/2 1 1/2] along every axis, slice: the raw kernel, as pydensecrf's.

    Vertices exist where a simplex of a point has one; with `closed` their neighbours do too.
    """
    results = [
        _lattice_filter(f, v, closed, transposed) for f, v in zip(features, values, strict=True)
    ]
    return torch.stack(results) if results else values


def _lattice_filter(features: Tensor, values: Tensor, closed: bool, transposed: bool) -> Tensor:
    d = features.shape[0]
    vertices, weights = simplex(features)
    steps = (d + 1) * torch.eye(d + 1, dtype=torch.long) - 1  # to the neighbour along each axis
    known = vertices.flatten(0, 1).unique(dim=0)
    if closed:
        ring = (known[:, None] + torch.cat([steps, -steps])).flatten(0, 1)
        known = torch.cat([known, ring]).unique(dim=0)
    number = {tuple(vertex): i for i, vertex in enumerate(known.tolist())}
    missing = len(number)

    def find(wanted: Tensor) -> Tensor:
        found = [number.get(tuple(vertex), missing) for vertex in wanted.tolist()]
        return torch.tensor(found, dtype=torch.long)

    corner = find(vertices.flatten(0, 1))
    parts = values[:, :, None] * weights
    zeros = values.new_zeros(values.shape[0], missing)
    lattice = zeros.index_add(1, corner, parts.flatten(1))
    for axis in reversed(range(d + 1)) if transposed else range(d + 1):
        padded = torch.cat([lattice, lattice.new_zeros(lattice.shape[0], 1)], 1)
        minus, plus = find(known - steps[axis]), find(known + steps[axis])
        lattice = lattice + 0.5 * (padded[:, minus] + padded[:, plus])
    corners = lattice[:, corner].unflatten(1, weights.shape)
    return (corners * weights).sum(2) / (1 + 2.0**-d)


# --- normalisation and mean field -----------------------------------------------------------------


def normalized(filter: Filter, like: Tensor, normalization: str) -> Filter:
    """K~ of a filter K: see `GaussianFilter`. `like` is (B, K, N)."""
    if normalization == "none":
        return filter
    mass = filter(torch.ones_like(like[:, :1]))
    if normalization == "before":
        return lambda values: filter(values / mass)
    if normalization == "after":
        return lambda values: filter(values) / mass
    root = mass.clamp_min(1e-20).sqrt()
    return lambda values: filter(values / root) / root


def mean_field_reference(
    unary: Tensor,
    filters: Sequence[tuple[Filter, float | Tensor]],
    compatibility: Tensor | None = None,
    iterations: int = 10,
) -> Tensor:
    """Algorithm 1, with the message of a point to itself left in: Q (B, L, N).

    Args:
        unary: energies, (B, L, N).
        filters: K~ with the weight w of each kernel.
        compatibility: symmetric costs (L, L). None: Potts, minus the identity.
        iterations: how many.
    """
    marginals = torch.softmax(-unary, 1)
    for _ in range(iterations):
        message = sum((w * filter(marginals) for filter, w in filters), torch.zeros_like(unary))
        pairwise = -message if compatibility is None else compatibility @ message
        marginals = torch.softmax(-unary - pairwise, 1)
    return marginals


def dense_crf_reference(
    unary: Tensor,
    image: Tensor,
    *,
    bilateral_sigma_xy: float | Tensor = 67.0,
    bilateral_sigma_rgb: float | Tensor = 3.0,
    bilateral_weight: float | Tensor = 4.0,
    gaussian_sigma: float | Tensor = 1.0,
    gaussian_weight: float | Tensor = 3.0,
    compatibility: Tensor | None = None,
    iterations: int = 10,
    normalization: str = "symmetric",
    method: str = "exact",
) -> Tensor:
    """`dense_crf` by the definitions above; the spatial kernel is exact with every method."""
    bilateral = bilateral_features_reference(
        image.to(unary), bilateral_sigma_xy, bilateral_sigma_rgb
    )
    spatial = spatial_features_reference(image.shape[2:], gaussian_sigma).to(unary)
    spatial = spatial.expand(unary.shape[0], -1, -1)
    flat = unary.flatten(2)

    def gaussian(values: Tensor) -> Tensor:
        return exact_filter_reference(spatial, values)

    def by_colour(values: Tensor) -> Tensor:
        if method == "exact":
            return exact_filter_reference(bilateral, values)
        return lattice_filter_reference(bilateral, values, closed=method == "closed")

    filters = [
        (normalized(gaussian, flat, normalization), gaussian_weight),
        (normalized(by_colour, flat, normalization), bilateral_weight),
    ]
    if compatibility is not None:
        compatibility = (compatibility + compatibility.T) / 2
    return mean_field_reference(flat, filters, compatibility, iterations).view_as(unary)


def crf_free_energy_reference(
    marginals: Tensor,
    unary: Tensor,
    filters: Sequence[tuple[Filter, float | Tensor]],
    compatibility: Tensor | None = None,
) -> Tensor:
    """sum Q log Q + sum Q unary + 1/2 sum Q mu K~ Q, for each image: (B,)."""
    entropy = torch.xlogy(marginals, marginals)
    message = sum((w * filter(marginals) for filter, w in filters), torch.zeros_like(unary))
    pairwise = -message if compatibility is None else compatibility @ message
    return (entropy + marginals * unary + 0.5 * marginals * pairwise).sum((1, 2))
