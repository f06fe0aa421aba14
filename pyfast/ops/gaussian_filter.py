"""Gaussian filtering in feature space.

Every pixel or point is connected with every other by k(i, j) = exp(-|f_i - f_j|^2 / 2), where
features f are positions and colours, each divided by its sigma. Three methods sum over all of them:

- "lattice": the permutohedral lattice, as pydensecrf has it. Fast. What flows out of the lattice
  through vertices that no point made is lost, which is most of its error.
- "closed": the same with all neighbours of these vertices made too: some 2.5 times the time, and
  less than half of the error.
- "exact": the sum itself.

With r = K 1, `normalization` makes K~ of the kernel matrix K: "none" K; "before" K diag(1/r);
"after" diag(1/r) K; "symmetric" diag(r^-1/2) K diag(r^-1/2).

Tensors are of float32 or float64 and may have any strides. Results are the same bits in every run,
for any number of threads.

Reference: Adams, Baek, Davis 2010, Fast High-Dimensional Filtering Using the Permutohedral Lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops import _dense_crf_operators as operators
from pyfast.ops._checks import explained
from pyfast.ops._dense_crf_operators import METHODS, NORMALIZATIONS
from pyfast.ops._dense_crf_reference import (
    bilateral_features_reference,
    lattice_filter_reference,
    spatial_features_reference,
)

__all__ = [
    "METHODS",
    "NORMALIZATIONS",
    "GaussianFilter",
    "bilateral_features",
    "bilateral_features_reference",
    "lattice_filter_reference",
    "spatial_features",
    "spatial_features_reference",
]

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
        ValueError: a size or a sigma is not positive, or a sigma beyond `dtype`.

    Example:
        >>> spatial_features((1, 3), 2.0)
        tensor([[[0.0000, 0.5000, 1.0000],
                 [0.0000, 0.0000, 0.0000]]])
    """
    op = "spatial_features"
    checks.check_size(op, size)
    is_one = isinstance(sigma, (Real, Tensor))
    sigmas = [sigma] * len(size) if is_one else checks.as_list(op, "sigma", sigma)
    real = dtype if dtype.is_floating_point else torch.get_default_dtype()
    checks.check_sigmas(op, sigmas, len(size), real)
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
        ValueError: `image` has the wrong shape, or a sigma is not positive, or beyond the dtype.

    Example:
        >>> bilateral_features(torch.full((1, 1, 1, 2), 6.0), 2.0, 3.0)
        tensor([[[0.0000, 0.5000],
                 [0.0000, 0.0000],
                 [2.0000, 2.0000]]])
    """
    op = "bilateral_features"
    checks.check_image(op, image)
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    checks.check_sigmas(op, [sigma_xy], 1, dtype, "sigma_xy")
    checks.check_sigmas(op, [sigma_rgb], 1, dtype, "sigma_rgb")
    checks.expect_values(op, image, sigma_xy=sigma_xy, sigma_rgb=sigma_rgb)
    return bilateral_features_of(image, sigma_xy, sigma_rgb)


def bilateral_features_of(
    image: Tensor, sigma_xy: float | Tensor, sigma_rgb: float | Tensor
) -> Tensor:
    real = image if image.dtype == torch.float64 else image.float()
    y = torch.arange(image.shape[2], dtype=real.dtype, device=real.device)[:, None]
    x = torch.arange(image.shape[3], dtype=real.dtype, device=real.device)
    size = image.shape[2:]
    where = torch.stack([(axis / sigma_xy).expand(size) for axis in (x, y)]).flatten(1)
    return torch.cat([where.expand(image.shape[0], -1, -1), real.flatten(2) / sigma_rgb], 1)


class GaussianFilter:
    """Sums over all points, weighted by a Gaussian of the distance of their features.

    Built once, it filters any number of values: volumes, point clouds and images alike. It is
    differentiable in what it filters and in the features.

    Args:
        features: (B, d, N), each over its sigma; d from 1 to 32. Finite. They are kept, and not to
            be changed in place as long as the filter is used.
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
        if features.is_meta:
            raise ValueError(f"{op}: expected features with values, got a tensor on meta")
        try:
            self._lattice = operators.build_lattice(features, method == "closed")
        except RuntimeError as error:
            raise explained(op, error, checks.check_spread, op, features, error) from None

    @property
    def num_vertices(self) -> int:
        """Vertices of the lattice; 0 with "exact"."""
        return int(self._lattice.words[3]) if self._lattice is not None else 0

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
            # As many rows whatever the size is, and none beyond it counts: one trace serves all.
            rows = torch.arange(_SAMPLES, device=features.device) * -(-points // _SAMPLES)
            counts, rows = rows < points, rows.clamp_max(points - 1)
            # At once where caches hold all pairs; a trace does not ask for the number of points.
            is_small = not checks.is_hidden(features) and points < 512
            parts = rows.split(_SAMPLES if is_small else 16)
            exact = torch.cat([_row_sums(features, part) for part in parts], 1) * counts
            mass = self._mass().detach()[:, 0, rows] * counts
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
