"""The dense CRF over the pixels of an image.

Methods and normalisations are those of `pyfast.ops.gaussian_filter`. Tensors are of float32 or
float64 and may have any strides; under autocast energies may be in half precision and all is
computed in float32. Results are the same bits in every run with as many threads; those of a lattice
that is normalised for any number of threads.

Reference: Krähenbühl, Koltun 2011, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyfast.ops import _dense_crf_checks as checks
from pyfast.ops import _dense_crf_operators as operators
from pyfast.ops._autograd import is_differentiated
from pyfast.ops._checks import explained
from pyfast.ops._dense_crf_gradient import grid_matrix, pixel_features
from pyfast.ops._dense_crf_operators import METHODS, NORMALIZATIONS
from pyfast.ops._dense_crf_reference import dense_crf_reference
from pyfast.ops._mean_field import (
    Filter,
    bound,
    in_float32,
    iterate,
    symmetric,
    symmetric_or_none,
)
from pyfast.ops.gaussian_filter import GaussianFilter, bilateral_features_of

__all__ = ["METHODS", "NORMALIZATIONS", "dense_crf", "dense_crf_reference"]

# Pairs further apart are left out of the exact sum in float32: they weigh less than 4e-4.
_CUTOFF = 4.0


@in_float32
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
        normalization: "none", "before", "after" or "symmetric", pydensecrf's default; see
            `pyfast.ops.gaussian_filter`.
        method: "lattice", "closed" or "exact", of the bilateral kernel; see
            `pyfast.ops.gaussian_filter`. "exact" takes all pairs in float64; in float32 those
            within 4 sigma, which changes Q by 1e-3.

    Returns:
        Marginals Q, (B, L, H, W), of the dtype of `unary`, channels_last where that is. Sigmas,
        weights and the compatibility may be tensors that want a gradient.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: a shape, device, number or word is wrong, the image is NaN, infinite or too
            large, or costs are beyond 1e30.

    Reference: Krähenbühl, Koltun 2011, equations 2 and 3 and algorithm 1 (which leaves out the
        message of a pixel to itself; this, like their code, does not).

    Example:
        >>> unary = torch.tensor([[[[0.0, 0.2]], [[1.0, 0.0]]]])
        >>> dense_crf(unary, torch.zeros(1, 3, 1, 2)).argmax(1)
        tensor([[[0, 0]]])
    """
    op = "dense_crf"
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
    features = bilateral_features_of(image, *sigmas)
    try:
        bilateral = GaussianFilter(features, method, cutoff=cutoff)
    except ValueError as error:
        raise explained(
            "dense_crf", error, checks.check_pixels, "dense_crf", image, features, error
        ) from None
    spatial = _pixel_grid(unary, numbers["gaussian_sigma"], normalization)
    filters = [
        (bound(bilateral, normalization), numbers["bilateral_weight"]),
        (spatial, numbers["gaussian_weight"]),
    ]
    return iterate(flat, filters, symmetric_or_none(compatibility), iterations).view(unary.shape)


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
    arguments = unary, image, sigmas, weights, symmetric(compatibility)[None]
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
        features = bilateral_features_of(image, xy, rgb)
        check = checks.check_pixels, "dense_crf", image, features, error
        raise explained("dense_crf", error, *check) from None


def _wants_gradient(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _is_mapped(tensors: Sequence[Tensor]) -> bool:
    """Whether a transform of torch.func or a level of dual tensors is at work, in eager mode."""
    if torch.compiler.is_compiling():
        return False
    return is_differentiated() or any(map(checks.is_hidden, tensors))


def _pixel_grid(like: Tensor, sigma: float | Tensor, normalization: str) -> Filter:
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
