"""Fully connected CRFs: `DenseCRF` over any features, `DenseCRF2D` over pictures.

Reference: Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge
    Potentials, 2011.
"""

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyfast.compat.pydensecrf import eigen
from pyfast.compat.pydensecrf._checks import choice, error, finite_array, scales, whole
from pyfast.compat.pydensecrf._kernels import (
    Kernel,
    NormalizationType,
    features_kernel,
    mean_field,
    pixel_features,
    places_kernel,
)
from pyfast.compat.pydensecrf._unary import ConstUnary, LogisticUnary, Unary, energies, logistic
from pyfast.compat.pydensecrf.eigen import MatrixXf

__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "ConstUnary",
    "DenseCRF",
    "DenseCRF2D",
    "KernelType",
    "LogisticUnary",
    "NormalizationType",
    "Unary",
    "eigen",
]


class KernelType(IntEnum):
    """What of a kernel's shape could be learned. It changes nothing about inference."""

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType


class DenseCRF:
    """A CRF whose N variables are all connected, each with one of L labels.

    Args:
        nvar: number of variables, N.
        nlabels: number of labels, L.
        args: ignored.
    """

    def __init__(self, nvar: int, nlabels: int, *args: object) -> None:
        self._variables = whole(self._called("__init__"), "nvar", nvar, 1)
        self._labels = whole(self._called("__init__"), "nlabels", nlabels, 1)
        self._unary: NDArray[np.float32] | None = None
        self._kernels: list[Kernel] = []

    @classmethod
    def _called(cls, method: str) -> str:
        return cls.__name__ if method == "__init__" else f"{cls.__name__}.{method}"

    def _size(self) -> tuple[int, int]:
        """The variables, as pixels."""
        return (1, self._variables)

    def setUnaryEnergy(self, u: ArrayLike, f: ArrayLike | None = None) -> None:
        """Sets the energies of single variables; without them all labels are as probable.

        Args:
            u: -log p, (L, N), or (L, H, W) where the variables are pixels. Infinite where a label
                is impossible, but not for all labels of one variable. With `f` coefficients,
                (L, features).
            f: features, (features, N), for energies u f.

        Raises:
            TypeError: an argument is not made of numbers.
            ValueError: a shape does not fit, a number is NaN, or a variable has no possible label.
        """
        function = self._called("setUnaryEnergy")
        self._set(
            function, energies(function, "u", u) if f is None else logistic(function, "u", u, f)
        )

    def setUnary(self, u: Unary) -> None:
        """Sets the energies of single variables from a `ConstUnary` or `LogisticUnary`.

        Raises:
            TypeError: `u` is neither.
            ValueError: it is of another size.
        """
        function = self._called("setUnary")
        if not isinstance(u, ConstUnary | LogisticUnary):
            raise TypeError(
                f"{function}: expected u to be a ConstUnary or LogisticUnary, "
                f"got {type(u).__name__}; for arrays there is setUnaryEnergy"
            )
        self._set(function, u.energies)

    def _set(self, function: str, u: NDArray[np.float32]) -> None:
        wanted = {(self._labels, self._variables), (self._labels, *self._size())}
        if u.shape not in wanted:
            forms = " or ".join(map(str, sorted(wanted, key=len)))
            raise error(function, "u", f"of shape {forms}", u.shape)
        self._unary = u.reshape(self._labels, self._variables)

    def addPairwiseEnergy(
        self,
        features: ArrayLike,
        compat: ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a kernel exp(-|f_i - f_j|^2 / 2) over features.

        Args:
            features: f, (d, N).
            compat: how labels that meet are judged. A number w: w is taken off the energy of equal
                labels (Potts). (L,): what is added to the energy of equal labels, one by one: the
                opposite sign. (L, L): what is added, by both labels; it is made symmetric.
            kernel: one of `KernelType`, without effect.
            normalization: one of `NormalizationType`.

        Raises:
            TypeError: an argument is not made of numbers.
            ValueError: a shape does not fit, or a number is out of its range.
        """
        function = self._called("addPairwiseEnergy")
        found = finite_array(function, "features", features)
        if found.ndim != 2 or found.shape[1] != self._variables or not len(found):
            raise error(function, "features", f"of shape (d, {self._variables})", found.shape)
        judged = self._judged(function, compat, kernel, normalization)
        self._add(
            function,
            "features",
            lambda: features_kernel(found.astype(np.float32), *judged),
        )

    def _add(self, function: str, made_of: str, build: Callable[[], Kernel]) -> None:
        try:
            self._kernels.append(build())
        except ValueError as error:
            raise ValueError(f"{function}: no lattice for this {made_of}: {error}") from error

    def _judged(
        self, function: str, compat: ArrayLike, kernel: int, normalization: int
    ) -> tuple[NDArray[np.float32], NormalizationType]:
        """The matrix of costs, (L, L), that `compat` stands for, and the normalisation."""
        choice(function, "kernel", kernel, KernelType)
        how = choice(function, "normalization", normalization, NormalizationType)
        found, labels = finite_array(function, "compat", compat), self._labels
        if found.shape not in ((), (labels,), (labels, labels)):
            forms = f"to be a number or of shape ({labels},) or ({labels}, {labels})"
            raise error(function, "compat", forms, found.shape)
        if found.ndim == 2:
            cost = (found + found.T) / 2
        else:
            cost = np.diag(found if found.ndim else np.full(labels, -float(found)))
        if np.abs(cost).max() > np.finfo(np.float32).max:
            raise error(function, "compat", "to be finite in float32", compat)
        return cost.astype(np.float32), how

    def inference(self, niter: int) -> MatrixXf:
        """Marginals after `niter` iterations of mean field, (L, N).

        Raises:
            TypeError: `niter` is no number.
            ValueError: it is not whole, or negative.
        """
        count = whole(self._called("inference"), "niter", niter, 0)
        return mean_field(self._energies(), self._kernels, self._size(), count).view(MatrixXf)

    def startInference(self) -> tuple[MatrixXf, MatrixXf, MatrixXf]:
        """Marginals before the first iteration, (L, N), and two matrices for `stepInference`."""
        start = mean_field(self._energies(), [], self._size(), 0)
        return start.view(MatrixXf), MatrixXf(), MatrixXf()

    def stepInference(self, Q: ArrayLike, tmp1: object, tmp2: object) -> None:
        """One iteration, in place.

        Args:
            Q: marginals, (L, N); writable.
            tmp1: ignored, as `tmp2` is: pydensecrf keeps what it computes in between in them.

        Raises:
            TypeError: `Q` does not hold numbers, or is no array that can be written to.
            ValueError: its shape does not fit, or a number is NaN or infinite.
        """
        function = self._called("stepInference")
        before = self._marginals(function, Q)
        if not isinstance(Q, np.ndarray) or not Q.flags.writeable:
            raise TypeError(f"{function}: expected Q to be an array that can be written to")
        Q[...] = mean_field(self._energies(), self._kernels, self._size(), 1, before)

    def klDivergence(self, Q: ArrayLike) -> float:
        """sum Q log Q + sum Q (u + sum_m mu_m K_m Q): pydensecrf's measure of progress.

        It counts the pairwise energies twice. The free energy, which mean field lowers, has half of
        them: `pyfast.crf_free_energy`.

        Args:
            Q: marginals, (L, N).

        Raises:
            TypeError: `Q` does not hold numbers.
            ValueError: its shape does not fit, or a number is NaN or infinite.
        """
        found = self._marginals(self._called("klDivergence"), Q)
        total = self._energies() + np.log(np.maximum(found, np.float32(1e-20)))
        for kernel in self._kernels:
            total += kernel.message(found, self._size())
        # An impossible label costs nothing where its probability is 0.
        return float(np.sum(found * total, where=found > 0, dtype=np.float64))

    def _energies(self) -> NDArray[np.float32]:
        if self._unary is None:
            return np.zeros((self._labels, self._variables), np.float32)
        return self._unary

    def _marginals(self, function: str, Q: ArrayLike) -> NDArray[np.float32]:
        found = finite_array(function, "Q", Q)
        if found.shape != (self._labels, self._variables):
            wanted = f"of shape ({self._labels}, {self._variables})"
            raise error(function, "Q", wanted, found.shape)
        return np.ascontiguousarray(found, np.float32)


class DenseCRF2D(DenseCRF):
    """A CRF over the pixels of a picture: pixel (x, y) is variable y w + x.

    Args:
        w: width; it comes first.
        h: height.
        nlabels: number of labels, L.
        args: ignored.
    """

    def __init__(self, w: int, h: int, nlabels: int, *args: object) -> None:
        function = self._called("__init__")
        self._height = whole(function, "h", h, 1)
        self._width = whole(function, "w", w, 1)
        super().__init__(self._width * self._height, nlabels)

    def _size(self) -> tuple[int, int]:
        return self._height, self._width

    def addPairwiseGaussian(
        self,
        sxy: float | tuple[float, float],
        compat: ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a kernel of places: exp(-((x - x')^2 / sx^2 + (y - y')^2 / sy^2) / 2).

        Args:
            sxy: sx and sy, or one number for both, in pixels.
            compat: as for `addPairwiseEnergy`, as are `kernel` and `normalization`.

        Raises:
            TypeError: an argument is not made of numbers.
            ValueError: a shape does not fit, or a number is out of its range.
        """
        function = self._called("addPairwiseGaussian")
        sides = scales(function, "sxy", sxy, 2)
        judged = self._judged(function, compat, kernel, normalization)
        self._add(
            function,
            "sxy",
            lambda: places_kernel(self._size(), sides, *judged),
        )

    def addPairwiseBilateral(
        self,
        sxy: float | tuple[float, float],
        srgb: float | tuple[float, float, float],
        rgbim: ArrayLike,
        compat: ArrayLike,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a kernel of places and colours.

        Args:
            sxy: standard deviations of x and y, or one number for both, in pixels.
            srgb: standard deviations of the channels, or one number for all, in the units of
                `rgbim`.
            rgbim: picture, (h, w), or (h, w, C) with any number of channels, of any real numbers.
            compat: as for `addPairwiseEnergy`, as are `kernel` and `normalization`.

        Raises:
            TypeError: an argument is not made of numbers.
            ValueError: a shape does not fit, or a number is out of its range.
        """
        function = self._called("addPairwiseBilateral")
        image = finite_array(function, "rgbim", rgbim)
        image = image[:, :, None] if image.ndim == 2 else image
        if image.ndim != 3 or image.shape[:2] != self._size() or not image.shape[2]:
            size = f"{self._height}, {self._width}"
            raise error(function, "rgbim", f"of shape ({size}, 3) or ({size})", image.shape)
        sides = scales(function, "sxy", sxy, 2)
        colours = scales(function, "srgb", srgb, image.shape[2])
        judged = self._judged(function, compat, kernel, normalization)
        self._add(
            function,
            "sxy, srgb and rgbim",
            lambda: features_kernel(pixel_features(image, sides, colours), *judged),
        )
