"""Energies of single pixels, and features of pairwise kernels, in any number of dimensions."""

from collections.abc import Iterable, Sequence
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyfast.compat.pydensecrf._checks import (
    error,
    finite_array,
    first_of,
    real,
    real_array,
    scales,
    whole,
)

__all__ = [
    "compute_unary",
    "create_pairwise_bilateral",
    "create_pairwise_gaussian",
    "softmax_to_unary",
    "unary_from_labels",
    "unary_from_softmax",
]


def unary_from_labels(
    labels: ArrayLike, n_labels: int, gt_prob: float, zero_unsure: bool = True
) -> NDArray[np.float32]:
    """Energies -log p of labels that are right with probability `gt_prob`.

    Args:
        labels: whole numbers, of any shape with N elements.
        n_labels: how many labels there are, L; without the 0 where that means unsure.
        gt_prob: probability of the given label, between 0 and 1; the others share the rest.
        zero_unsure: whether 0 means that every label is as probable, and labels count from 1; else
            they count from 0.

    Returns:
        Energies, (L, N).

    Raises:
        TypeError: an argument is not made of numbers.
        ValueError: a number is out of its range.

    >>> unary_from_labels([[1, 0]], 2, gt_prob=0.8).round(2)
    array([[0.22, 0.69],
           [1.61, 0.69]], dtype=float32)
    """
    function = "unary_from_labels"
    count = whole(function, "n_labels", n_labels, 1)
    if not 0 < real(function, "gt_prob", gt_prob) < 1:
        raise error(function, "gt_prob", "between 0 and 1", gt_prob)
    given = finite_array(function, "labels", labels).ravel()
    found = given.astype(np.int64)
    first = 0 if zero_unsure else 1
    wrong = (found != given) | (found < 0) | (found > count - first)
    if wrong.any():
        wanted = f"to be whole, from 0 to {count - first}"
        raise error(function, "labels", wanted, first_of(given, wrong))
    other = -np.log((1 - gt_prob) / (count - 1)) if count > 1 else 0.0
    energies = np.full((count, found.size), other, np.float32)
    energies[found - 1 + first, np.arange(found.size)] = -np.log(gt_prob)
    if zero_unsure:
        energies[:, found == 0] = np.log(count)
    return energies


def unary_from_softmax(
    sm: ArrayLike, scale: float | None = None, clip: float | None = 1e-5
) -> NDArray[np.float32]:
    """Energies -log p of probabilities.

    Args:
        sm: probabilities, (L, ...), with N elements a label.
        scale: how far to trust them: they are mixed with uniform ones, `scale` to 1 - `scale`.
            Between 0 and 1; None trusts them altogether.
        clip: the least probability; smaller ones become it. None leaves 0, of infinite energy.

    Returns:
        Energies, (L, N).

    Raises:
        TypeError: `sm` does not hold numbers.
        ValueError: a number is out of its range.

    >>> unary_from_softmax([[0.9, 0.0], [0.1, 1.0]]).round(2)
    array([[ 0.11, 11.51],
           [ 2.3 , -0.  ]], dtype=float32)
    """
    function = "unary_from_softmax"
    probabilities = finite_array(function, "sm", sm)
    if probabilities.ndim == 0:
        raise error(function, "sm", "of shape (L, ...)", "a number")
    count = len(probabilities)
    if count == 0:
        raise error(function, "sm", "of one label or more", f"the shape {probabilities.shape}")
    if scale is not None:
        if not 0 < real(function, "scale", scale) <= 1:
            raise error(function, "scale", "above 0 and up to 1", scale)
        probabilities = scale * probabilities + (1 - scale) / count
    if clip is not None:
        if np.isnan(real(function, "clip", clip)):
            raise error(function, "clip", "to be a number or None", clip)
        probabilities = np.clip(probabilities, clip, 1)
    elif (probabilities < 0).any():
        raise error(function, "sm", "not to be negative", probabilities.min())
    with np.errstate(divide="ignore"):
        return -np.log(probabilities).reshape(count, -1).astype(np.float32)


def create_pairwise_gaussian(
    sdims: float | Sequence[float], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Features of a kernel of places: the coordinates, axis by axis, divided by `sdims`.

    Args:
        sdims: standard deviation along every axis, in pixels; one number for all.
        shape: of the grid, of any number d of dimensions.

    Returns:
        (d, N), in the order of the axes: y before x.

    Raises:
        TypeError: an argument is not made of numbers.
        ValueError: a deviation is missing, or one is not positive.

    >>> create_pairwise_gaussian((2, 4), (1, 3))
    array([[0.  , 0.  , 0.  ],
           [0.  , 0.25, 0.5 ]], dtype=float32)
    """
    function = "create_pairwise_gaussian"
    if not isinstance(shape, Iterable):
        raise TypeError(f"{function}: expected shape to be a sequence of integers, got {shape!r}")
    return _places(function, sdims, tuple(shape))


def create_pairwise_bilateral(
    sdims: float | Sequence[float],
    schan: float | Sequence[float],
    img: ArrayLike,
    chdim: int = -1,
) -> NDArray[np.float32]:
    """Features of a kernel of places and values: coordinates, then channels, each divided by its
    standard deviation.

    Args:
        sdims: standard deviations along the axes without that of the channels, in pixels.
        schan: standard deviations of the channels, in the units of `img`; one number for all.
        img: picture or volume.
        chdim: which axis holds the channels. -1: there is none, and not the last one.

    Returns:
        (d + channels, N), in the order of the axes: y before x.

    Raises:
        TypeError: an argument is not made of numbers.
        ValueError: `chdim` is no axis, a deviation is missing, or one is not positive.

    >>> create_pairwise_bilateral((1, 1), 10, [[0, 20]])
    array([[0., 0.],
           [0., 1.],
           [0., 2.]], dtype=float32)
    """
    function = "create_pairwise_bilateral"
    values = real_array(function, "img", img).astype(np.float32)
    chdim = whole(function, "chdim", chdim, -values.ndim)
    if chdim >= values.ndim:
        raise error(function, "chdim", f"to be an axis of img {values.shape}", chdim)
    channels = values[None] if chdim == -1 else np.moveaxis(values, chdim, 0)
    deviations = np.array(scales(function, "schan", schan, len(channels)), np.float32)
    flat = channels.reshape(len(channels), -1) / deviations[:, None]
    return np.concatenate([_places(function, sdims, channels.shape[1:]), flat])


def _places(
    function: str, sdims: float | Sequence[float], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    if not shape:
        raise error(function, "shape", "of one side or more", shape)
    sides = tuple(whole(function, "shape", side, 0) for side in shape)
    deviations = scales(function, "sdims", sdims, len(sides))
    axes = (
        np.arange(side, dtype=np.float32) / np.float32(deviation)
        for side, deviation in zip(sides, deviations, strict=True)
    )
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.stack(mesh).reshape(len(sides), -1)


def compute_unary(labels: ArrayLike, M: int, GT_PROB: float = 0.5) -> NDArray[np.float32]:
    """The old name of `unary_from_labels`."""
    warn("compute_unary is deprecated, use unary_from_labels", DeprecationWarning, stacklevel=2)
    return unary_from_labels(labels, M, GT_PROB)


def softmax_to_unary(sm: ArrayLike, GT_PROB: float = 1) -> NDArray[np.float32]:
    """The old name of `unary_from_softmax`, which does not clip."""
    warn("softmax_to_unary is deprecated, use unary_from_softmax", DeprecationWarning, stacklevel=2)
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)
