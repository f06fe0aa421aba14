"""The dense CRF: Gaussian filtering in feature space, and mean field on top of it.

Every pixel or point is connected with every other by k(i, j) = exp(-|f_i - f_j|^2 / 2), where
features f are positions and colours, each divided by its sigma. Three methods sum over all of them:

- "lattice": the permutohedral lattice, as pydensecrf has it. Fast. What flows out of the lattice
  through vertices that no point made is lost, which is most of its error.
- "closed": the same with all neighbours of these vertices made too: some 2.5 times the time, and
  less than half of the error.
- "exact": the sum itself.

With r = K 1, `normalization` makes K~ of the kernel matrix K: "none" K; "before" K diag(1/r);
"after" diag(1/r) K; "symmetric" diag(r^-1/2) K diag(r^-1/2).

Tensors are of float32 or float64 and may have any strides; under autocast energies may be in half
precision and all is computed in float32. Results are the same bits in every run,
for any number of threads.

References: Krähenbühl, Koltun 2011, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials; Adams, Baek, Davis 2010, Fast High-Dimensional Filtering Using the Permutohedral
Lattice.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops import _dense_crf_operators as operators
from pyfast.ops._autograd import _is_transformed as is_transformed
from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import HALVES, expect_choice, explained
from pyfast.ops._dense_crf_gradient import grid_matrix, pixel_features
from pyfast.ops._dense_crf_operators import METHODS, NORMALIZATIONS
from pyfast.ops._dense_crf_reference import (
    bilateral_features_reference,
    crf_free_energy_reference,
    dense_crf_reference,
    lattice_filter_reference,
    mean_field_reference,
    spatial_features_reference,
)

__all__ = [
    "METHODS",
    "NORMALIZATIONS",
    "GaussianFilter",
    "bilateral_features",
    "bilateral_features_reference",
    "crf_free_energy",
    "crf_free_energy_reference",
    "dense_crf",
    "dense_crf_reference",
    "lattice_filter_reference",
    "mean_field",
    "mean_field_reference",
    "spatial_features",
    "spatial_features_reference",
]

# Pairs further apart are left out of the exact sum in float32: they weigh less than 4e-4.
_CUTOFF = 4.0
_SAMPLES = 256  # points at which the scale of a lattice is compared with the exact sum


def spatial_features(
    size: Sequence[int],
    sigma: float | Tensor | Sequence[float],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Positions of pixels or voxels, over sigma: features of a spatial kernel.

    Args:
        size: (H, W), (D, H, W), or of any other length.
        sigma: standard deviation in pixels, or one for each dimension, in the order of the
            features: x before y before z.
        dtype: of the result.
        device: of the result.

    Returns:
        (1, len(size), points), x before y before z; points in row-major order.

    Raises:
        TypeError: `size` holds no integers, or `sigma` is no number.
        ValueError: a size or a sigma is not positive.

    Example:
        >>> spatial_features((1, 3), 2.0)
        tensor([[[0.0000, 0.5000, 1.0000],
                 [0.0000, 0.0000, 0.0000]]])
    """
    op = "spatial_features"
    checks.check_size(op, size)
    is_one = isinstance(sigma, (Real, Tensor))
    sigmas = [sigma] * len(size) if is_one else checks.as_list(op, "sigma", sigma)
    checks.check_sigmas(op, sigmas, len(size))
    axes = [torch.arange(n, dtype=dtype, device=device) for n in size]
    grid = reversed(torch.meshgrid(*axes, indexing="ij"))
    return torch.stack([axis.flatten() / s for axis, s in zip(grid, sigmas, strict=True)])[None]


def bilateral_features(
    image: Tensor, sigma_xy: float | Tensor, sigma_rgb: float | Tensor
) -> Tensor:
    """Positions and colours of pixels, over their sigmas: features of a bilateral kernel.

    Args:
        image: (B, C, H, W), uint8 or float, any number of channels up to 30.
        sigma_xy: standard deviation in pixels.
        sigma_rgb: standard deviation in the units of the image.

    Returns:
        (B, 2 + C, H * W): x, y, then the channels. float64 for such an image, else float32.

    Raises:
        TypeError: `image` is no dense tensor of uint8 or floats, or a sigma no number.
        ValueError: `image` has the wrong shape, or a sigma is not positive.

    Example:
        >>> bilateral_features(torch.full((1, 1, 1, 2), 6.0), 2.0, 3.0)
        tensor([[[0.0000, 0.5000],
                 [0.0000, 0.0000],
                 [2.0000, 2.0000]]])
    """
    op = "bilateral_features"
    checks.check_image(op, image)
    checks.check_sigmas(op, [sigma_xy], 1, "sigma_xy")
    checks.check_sigmas(op, [sigma_rgb], 1, "sigma_rgb")
    return _bilateral_features(image, sigma_xy, sigma_rgb)


def _bilateral_features(
    image: Tensor, sigma_xy: float | Tensor, sigma_rgb: float | Tensor
) -> Tensor:
    real = image if image.dtype == torch.float64 else image.float()
    y = torch.arange(image.shape[2], dtype=real.dtype, device=real.device)[:, None]
    x = torch.arange(image.shape[3], dtype=real.dtype, device=real.device)
    size = image.shape[2:]
    where = torch.stack([x.expand(size), y.expand(size)]).flatten(1) / sigma_xy
    return torch.cat([where.expand(image.shape[0], -1, -1), real.flatten(2) / sigma_rgb], 1)


class GaussianFilter:
    """Sums over all points, weighted by a Gaussian of the distance of their features.

    Built once, it filters any number of values: volumes, point clouds and images alike. It is
    differentiable in what it filters and in the features.

    Args:
        features: (B, d, N), each over its sigma; d from 1 to 32. Finite.
        method: "lattice", "closed" or "exact"; see the module.
        cutoff: with "exact", a distance in features beyond which pairs may be left out. Points are
            sorted into blocks for that; None: all pairs.

    Raises:
        TypeError: `features` is no dense tensor of float32 or float64.
        ValueError: the shape, `method` or `cutoff` is wrong, a feature is NaN, infinite or too
            large,
            or there are more points than can be numbered: B * N * (d + 1) has to be below 2**31.

    Memory of a lattice is 4 * (4 * (d + 1) + 2) bytes a point and 8 * (d + 2) bytes a vertex.

    Example:
        >>> pair = GaussianFilter(torch.tensor([[[0.0, 1.0]]]), method="exact")
        >>> pair.filter(torch.tensor([[[1.0, 0.0]]]))
        tensor([[[1.0000, 0.6065]]])
    """

    def __init__(
        self, features: Tensor, method: str = "lattice", *, cutoff: float | None = None
    ) -> None:
        op = "GaussianFilter"
        checks.check_features(op, features, method, cutoff)
        self.features = features
        self.method = method
        self._cutoff = cutoff or 0.0
        self._lattice: operators.Lattice | None = None
        self._raw_mass: Tensor | None = None
        self._scales: Tensor | None = None
        if method == "exact":
            checks.check_finite(op, features)
            return
        try:
            self._lattice = operators.build_lattice(features, method == "closed")
        except RuntimeError as error:
            raise explained(op, error, checks.check_spread, op, features) from None

    @property
    def num_vertices(self) -> int:
        """Vertices of the lattice; 0 with "exact"."""
        return self._lattice.vertices if self._lattice is not None else 0

    @property
    def mass(self) -> Tensor:
        """Row sums K 1: (B, N)."""
        return (self._mass() * self._scale())[:, 0]

    def filter(self, values: Tensor, normalization: str = "none") -> Tensor:
        """K~ values.

        Args:
            values: (B, C, N), of the dtype of the features.
            normalization: "none", "before", "after" or "symmetric"; see the module. With "none" and
                a lattice, values have the scale of the Gaussian sum: the lattice's own sums times
                the ratio of exact to lattice row sums, over 256 points of each image.

        Returns:
            (B, C, N).

        Raises:
            TypeError: `values` is no dense tensor of the dtype of the features.
            ValueError: its shape or device, or `normalization`, is wrong.
        """
        return self._apply("GaussianFilter.filter", values, normalization, False)

    def transpose(self, values: Tensor, normalization: str = "none") -> Tensor:
        """K~' values, with the arguments of `filter`.

        A lattice is not quite symmetric: blurs along two axes do not commute where vertices are
        missing.
        """
        return self._apply("GaussianFilter.transpose", values, normalization, True)

    def _apply(self, op: str, values: Tensor, normalization: str, transposed: bool) -> Tensor:
        checks.check_values(op, values, self.features, normalization)
        try:
            return self._normalized(values, normalization, transposed)
        except NotImplementedError as error:
            raise NotImplementedError(f"{op}: {error}") from None

    def _normalized(self, values: Tensor, normalization: str, transposed: bool = False) -> Tensor:
        if normalization == "none":
            return self._raw(values, transposed) * self._scale()
        mass = self._mass()
        if normalization == "symmetric":
            root = mass.clamp_min(1e-20).rsqrt()
            return self._raw(values * root, transposed) * root
        if (normalization == "before") != transposed:
            return self._raw(values / mass, transposed)
        return self._raw(values, transposed) / mass

    def _raw(self, values: Tensor, transposed: bool) -> Tensor:
        if self._lattice is None:
            return operators.gaussian_exact(values, self.features, self._cutoff)
        return operators.gaussian_filter(values, self.features, *self._lattice, transposed)

    def _mass(self) -> Tensor:
        """(B, 1, N), raw; kept unless it has a gradient, here or where that is asked for later."""
        if self._raw_mass is not None:
            return self._raw_mass
        mass = self._raw(torch.ones_like(self.features[:, :1]), False)
        if not self.features.requires_grad and self._may_keep(mass):
            self._raw_mass = mass
        return mass

    def _may_keep(self, tensor: Tensor) -> bool:
        """Whether `tensor` serves wherever the features do."""
        if checks.is_hidden(tensor) or tensor.requires_grad:
            return False
        return not tensor.is_inference() or self.features.is_inference()

    def _scale(self) -> Tensor | float:
        """From raw to true sums: (B, 1, 1)."""
        if self._lattice is None or self.features.numel() == 0:
            return 1.0
        if self._scales is None:
            features = self.features.detach()
            points = features.shape[2]
            chosen = torch.arange(0, points, math.ceil(points / _SAMPLES), device=features.device)
            exact = torch.cat([_row_sums(features, part) for part in chosen.split(16)], 1)
            mass = self._mass().detach()[:, 0, chosen]
            scales = (exact.sum(1) / mass.sum(1))[:, None, None]
            if not self._may_keep(scales):
                return scales
            self._scales = scales
        return self._scales


def _row_sums(features: Tensor, rows: Tensor) -> Tensor:
    square: Tensor | float = 0.0
    for feature in features.unbind(1):
        square = square + (feature[:, rows, None] - feature[:, None, :]).square()
    return torch.as_tensor(square).mul(-0.5).exp().sum(2)


Kernel: TypeAlias = "tuple[GaussianFilter | Tensor, float | Tensor]"
_Filter = Callable[[Tensor], Tensor]


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
        normalization: of every kernel; see the module.

    Returns:
        Marginals Q, (B, L, N).

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
    if _is_cast(unary):
        with torch.autocast(unary.device.type, enabled=False):
            return mean_field(
                _wide(unary),
                kernels,
                compatibility=_wide(compatibility),
                iterations=iterations,
                normalization=normalization,
            )
    checks.expect_real(op, unary=unary)
    checks.check_labels(op, "unary", unary, 3, "(B, L, N)")
    checks.check_compatibility(op, compatibility, unary)
    checks.expect_natural(op, "iterations", iterations)
    filters = _filters(op, kernels, unary, normalization)
    weights = {f"kernels[{i}][1]": weight for i, (_, weight) in enumerate(filters)}
    checks.check_costs(op, weights, compatibility)
    try:
        return _mean_field(unary, filters, _symmetric_or_none(compatibility), iterations)
    except NotImplementedError as error:
        raise NotImplementedError(f"{op}: {error}") from None


def _is_cast(unary: Any) -> bool:
    """Whether autocast is on, under which all is computed in float32 as without it."""
    return isinstance(unary, Tensor) and is_autocast_on(unary.device.type)


def _wide(tensor: Any) -> Any:
    return tensor.float() if isinstance(tensor, Tensor) and tensor.dtype in HALVES else tensor


def _filters(
    op: str, kernels: Sequence[Kernel], like: Tensor, normalization: str
) -> list[tuple[_Filter, float | Tensor]]:
    checks.check_kernels(op, kernels)
    expect_choice(op, "normalization", normalization, NORMALIZATIONS)
    filters = []
    for i, (kernel, weight) in enumerate(kernels):
        if not isinstance(kernel, GaussianFilter):
            checks.check_features(op, kernel, "lattice", None)
            kernel = GaussianFilter(kernel)
        checks.check_fits(op, f"kernels[{i}][0]", kernel.features, like)
        filters.append((_bound(kernel, normalization), weight))
    return filters


def _bound(kernel: GaussianFilter, normalization: str) -> _Filter:
    return lambda values: kernel._normalized(values, normalization)


def _symmetric_or_none(compatibility: Tensor | None) -> Tensor | None:
    return None if compatibility is None else _symmetric(compatibility)


def _symmetric(compatibility: Tensor) -> Tensor:
    return (compatibility + compatibility.mT) / 2


def _mean_field(
    unary: Tensor,
    filters: Sequence[tuple[_Filter, float | Tensor]],
    compatibility: Tensor | None,
    iterations: int,
) -> Tensor:
    unknown = (torch.isnan(unary).any(1) | (unary == math.inf).all(1))[:, None]
    logits = -unary.masked_fill(unknown, 0).clamp(-1e30, 1e30)
    marginals = torch.softmax(logits, 1)
    for _ in range(iterations):
        marginals = torch.softmax(logits - _pairwise(marginals, filters, compatibility), 1)
    return marginals


def _pairwise(
    marginals: Tensor,
    filters: Sequence[tuple[_Filter, float | Tensor]],
    compatibility: Tensor | None,
) -> Tensor:
    message = torch.zeros_like(marginals)
    for filter, weight in filters:
        message = message + filter(marginals) * weight
    if compatibility is None:
        return -message
    return torch.einsum("kl,bl...->bk...", compatibility, message)


def dense_crf(
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
    method: str = "lattice",
) -> Tensor:
    """Refines a segmentation by a fully connected CRF over the pixels of its image.

    Q <- softmax(-unary - mu (w_b K~_b Q + w_g K~_g Q)), with a bilateral kernel K_b over positions
    and colours and a Gaussian K_g over positions. The latter needs no lattice and is exact.

    Args:
        unary: energies -log p of the labels, (B, L, H, W). A pixel with a NaN, or with nothing but
            +inf, counts as unknown: its neighbours decide, and it spoils none of them.
        image: (B, C, H, W), uint8, or float in the units of `bilateral_sigma_rgb`; any number of
            channels up to 30. For uint8 these are 0..255.
        bilateral_sigma_xy: reach of the bilateral kernel in pixels.
        bilateral_sigma_rgb: reach of the bilateral kernel in colours.
        bilateral_weight: w_b.
        gaussian_sigma: reach of the Gaussian in pixels.
        gaussian_weight: w_g. The defaults are DeepLab's, of ResNet-101.
        compatibility: costs mu of two labels, (L, L); symmetrised. None: Potts, minus the identity.
        iterations: how many. 0: softmax(-unary).
        normalization: "none", "before", "after" or "symmetric", pydensecrf's default; see the
            module.
        method: "lattice", "closed" or "exact", of the bilateral kernel; see the module. "exact"
            takes all pairs in float64; in float32 those within 4 sigma, which changes Q by 1e-3.

    Returns:
        Marginals Q, (B, L, H, W), of the dtype of `unary`, channels_last where that is. Sigmas,
        weights and the compatibility may be tensors that want a gradient.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: a shape, device, number or word is wrong, the image is NaN, infinite or too
            large, or costs are beyond 1e30.

    Reference: Krähenbühl, Koltun 2011, equations 2 and 3 and algorithm 1 (which leaves out the
        message
    of a pixel to itself; this, like their code, does not).

    Example:
        >>> unary = torch.tensor([[[[0.0, 0.2]], [[1.0, 0.0]]]])
        >>> dense_crf(unary, torch.zeros(1, 3, 1, 2)).argmax(1)
        tensor([[[0, 0]]])
    """
    op = "dense_crf"
    if _is_cast(unary):
        with torch.autocast(unary.device.type, enabled=False):
            return dense_crf(
                _wide(unary),
                image,
                bilateral_sigma_xy=bilateral_sigma_xy,
                bilateral_sigma_rgb=bilateral_sigma_rgb,
                bilateral_weight=bilateral_weight,
                gaussian_sigma=gaussian_sigma,
                gaussian_weight=gaussian_weight,
                compatibility=_wide(compatibility),
                iterations=iterations,
                normalization=normalization,
                method=method,
            )
    numbers = {
        "bilateral_sigma_xy": bilateral_sigma_xy,
        "bilateral_sigma_rgb": bilateral_sigma_rgb,
        "bilateral_weight": bilateral_weight,
        "gaussian_sigma": gaussian_sigma,
        "gaussian_weight": gaussian_weight,
    }
    checks.check_dense_crf(unary, image, numbers, compatibility, iterations, normalization, method)
    image = image.to(unary.dtype)
    _warn_of_units(image, bilateral_sigma_rgb)
    try:
        marginals = _dense_crf(
            unary, image, numbers, compatibility, iterations, normalization, method
        )
        return _laid_out_like(unary, marginals)
    except NotImplementedError as error:
        raise NotImplementedError(f"{op}: {error}") from None


def _laid_out_like(unary: Tensor, marginals: Tensor) -> Tensor:
    """channels_last where `unary` is; a transform of torch does not tell."""
    last = torch.channels_last
    if _is_mapped((unary,)) or unary.is_contiguous() or not unary.is_contiguous(memory_format=last):
        return marginals
    return marginals.contiguous(memory_format=last)


def _dense_crf(
    unary: Tensor,
    image: Tensor,
    numbers: dict[str, Any],
    compatibility: Tensor | None,
    iterations: int,
    normalization: str,
    method: str,
) -> Tensor:
    tensors = [t for t in (unary, image, compatibility, *numbers.values()) if isinstance(t, Tensor)]
    # On a GPU a gradient comes from the filters.
    is_served = not unary.is_cuda or not (_is_mapped(tensors) or _wants_gradient(tensors))
    if method != "exact" and normalization != "none" and is_served:
        return _fused(unary, image, numbers, compatibility, iterations, normalization, method)
    flat = unary.flatten(2)
    sigmas = numbers["bilateral_sigma_xy"], numbers["bilateral_sigma_rgb"]
    cutoff = _CUTOFF if method == "exact" and unary.dtype == torch.float32 else None
    features = _bilateral_features(image, *sigmas)
    try:
        bilateral = GaussianFilter(features, method, cutoff=cutoff)
    except ValueError as error:
        raise explained(
            "dense_crf", error, checks.check_pixels, "dense_crf", image, features
        ) from None
    spatial = _pixel_grid(unary, numbers["gaussian_sigma"], normalization)
    filters = [
        (_bound(bilateral, normalization), numbers["bilateral_weight"]),
        (spatial, numbers["gaussian_weight"]),
    ]
    return _mean_field(flat, filters, _symmetric_or_none(compatibility), iterations).view(
        unary.shape
    )


def _fused(
    unary: Tensor,
    image: Tensor,
    numbers: dict[str, Any],
    compatibility: Tensor | None,
    iterations: int,
    normalization: str,
    method: str,
) -> Tensor:
    xy, rgb, bilateral, gaussian_sigma, gaussian = (
        torch.as_tensor(number, dtype=unary.dtype, device=unary.device)
        for number in numbers.values()
    )
    labels = unary.shape[1]
    if compatibility is None:
        compatibility = -torch.eye(labels, dtype=unary.dtype, device=unary.device)
    sigmas = torch.stack([xy, rgb, gaussian_sigma])[None]
    weights = torch.stack([bilateral, gaussian])[None]
    arguments = unary, image, sigmas, weights, _symmetric(compatibility)[None]
    options = iterations, NORMALIZATIONS.index(normalization), METHODS.index(method)
    try:
        is_mapped = _is_mapped(arguments)
        if not is_mapped and not _wants_gradient(arguments):
            return operators.dense_crf(*arguments, *options)
        lattice = torch.empty(0, dtype=torch.int32, device=unary.device)
        if not is_mapped and not checks.is_hidden(unary):
            # Made here, it serves the gradient too.
            features = pixel_features(image.detach(), sigmas.detach())
            lattice = operators.build_lattice(features, method == "closed").words
        return operators.dense_crf_steps(*arguments, lattice, *options)[0]
    except RuntimeError as error:
        if isinstance(error, NotImplementedError):
            raise
        features = _bilateral_features(image, xy, rgb)
        check = checks.check_pixels, "dense_crf", image, features
        raise explained("dense_crf", error, *check) from None


def _wants_gradient(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _is_mapped(tensors: Sequence[Tensor]) -> bool:
    """Whether a transform of torch.func or a level of dual tensors is at work, in eager mode."""
    if torch.compiler.is_compiling():
        return False
    return is_transformed() or any(map(checks.is_hidden, tensors))


def _pixel_grid(like: Tensor, sigma: float | Tensor, normalization: str) -> _Filter:
    """K~ of a Gaussian over the pixels of (B, L, H, W)."""
    sigma = torch.as_tensor(sigma, dtype=like.dtype, device=like.device)
    kind, size = NORMALIZATIONS.index(normalization), like.shape[2:]
    columns, rows = (grid_matrix(length, sigma, kind) for length in size)
    return lambda values: (columns @ (values.unflatten(2, size) @ rows.mT)).flatten(2)


def _warn_of_units(image: Tensor, sigma_rgb: float | Tensor) -> None:
    """A picture in [0, 1] with a sigma for [0, 255] is one colour."""
    if checks.is_hidden(image) or isinstance(sigma_rgb, Tensor) or sigma_rgb < 1:
        return
    if image.numel() > 0 and 0 < image.max() <= 1:
        warnings.warn(
            "dense_crf: no value of image is above 1, and bilateral_sigma_rgb is "
            f"{sigma_rgb:g}: are they in the same units?",
            stacklevel=3,
        )


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
        unary: energies, (B, L, N).
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
    if _is_cast(unary):
        with torch.autocast(unary.device.type, enabled=False):
            return crf_free_energy(
                _wide(marginals),
                _wide(unary),
                kernels,
                compatibility=_wide(compatibility),
                normalization=normalization,
            )
    checks.expect_real(op, marginals=marginals, unary=unary)
    checks.check_labels(op, "unary", unary, 3, "(B, L, N)")
    checks.check_same_shape(op, "marginals", marginals, unary)
    checks.check_compatibility(op, compatibility, unary)
    filters = _filters(op, kernels, unary, normalization)
    try:
        pairwise = _pairwise(marginals, filters, _symmetric_or_none(compatibility))
    except NotImplementedError as error:
        raise NotImplementedError(f"{op}: {error}") from None
    return (torch.xlogy(marginals, marginals) + marginals * (unary + 0.5 * pairwise)).sum((1, 2))
