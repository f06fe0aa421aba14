"""The matting Laplacian: its matrix, its products and its energy.

In a small window of an image colours lie close to a line, so whatever follows the image, a matte
or the colours of another picture, is close to an affine function of colour there. The quadratic
form vᵀ L v of the matting Laplacian L sums the squares of what the best such functions leave, with
a penalty `epsilon` on their slopes.

What holds for every function here:

- Images are float32 or float64 in [0, 1], of any number of channels, at least 2 radius + 1 pixels
  on each side. Only windows that lie inside the image count, as in the authors' own code.
- Pixels are numbered row by row. Statistics of windows are kept in float64 whatever the image is.
- Results are the same bits in every run and for any number of threads.

Reference: Levin, Lischinski, Weiss 2008, A Closed-Form Solution to Natural Image Matting, IEEE
TPAMI 30 (2), equation 12.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyfast._native import _C
from pyfast.ops import _matting_checks as checks
from pyfast.ops import _matting_operators as operators
from pyfast.ops._checks import explained
from pyfast.ops._matting_eigs import smallest_eigenpairs
from pyfast.ops._matting_reference import matting_energy_reference, matting_laplacian_reference

__all__ = [
    "MattingLaplacian",
    "matting_energy",
    "matting_energy_reference",
    "matting_laplacian",
    "matting_laplacian_reference",
]

LAYOUTS = ("csr", "coo", "scipy")


def matting_energy(v: Tensor, image: Tensor, epsilon: float = 1e-7, radius: int = 1) -> Tensor:
    """The sum of vᵀ L v over the channels of `v`: how far it is from following `image`.

    With the colours of a picture as `v` and those of a photograph as `image` it is the photorealism
    regulariser of style transfer. Nothing is assembled: the value and both gradients take one sweep
    over the windows.

    Args:
        v: vectors, (C, H, W) or (B, C, H, W).
        image: what L is made of, (D, H, W) or (B, D, H, W), of the dtype of `v`. One image serves
            a batch of `v`.
        epsilon: weight of the slopes, in units of squared colour; larger allows less contrast. The
            authors take 1e-7, and 1e-5 for noisy or compressed images.
        radius: of the windows, in pixels, 1 to 8.

    Returns:
        0-dim, or (B,) for a batch, of the dtype of `v`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes or devices do not fit, the image is smaller than a window, `epsilon` is
            not positive, `radius` is not from 1 to 8.

    Differentiable twice in `v` and `image`; the second order goes through plain torch and takes its
    memory.

    Reference: Levin et al. 2008, equation 12; Luan, Paris, Shechtman, Bala 2017, Deep Photo Style
    Transfer, equation 2.

    Example:
        >>> image = torch.linspace(0, 1, 25, dtype=torch.float64).view(1, 5, 5)
        >>> bool(matting_energy(2 * image + 1, image) < 1e-5)  # an affine function of colour
        True
    """
    try:
        batched = v.dim() == 4
        vectors = v if batched else v[None]
        images = image if image.dim() == 4 else image[None]
        if images.shape[0] == 1 != vectors.shape[0]:
            images = images.expand(vectors.shape[0], -1, -1, -1)
        wanted = v.requires_grad, image.requires_grad
        if not batched and image.dim() == 4:
            raise ValueError("an image of a batch for one v")
        energy: Tensor = operators.energy(vectors, images, epsilon, radius, *wanted)[0]
        return energy if batched else energy[0]
    except Exception as error:
        check = checks.check_energy
        raise explained("matting_energy", error, check, v, image, epsilon, radius) from None


def matting_laplacian(
    image: Tensor,
    epsilon: float = 1e-7,
    radius: int = 1,
    *,
    known: Tensor | None = None,
    layout: str = "csr",
) -> Any:
    """The matting Laplacian of an image as a sparse matrix.

    Rows have ascending columns and (4 radius + 1)² entries inside the image; they sum to 0.

    Args:
        image: (D, H, W), or (H, W) for one channel; uint8 and uint16 are scaled by their maximum.
        epsilon: see `matting_energy`.
        radius: of the windows, in pixels, 1 to 8.
        known: (H, W), not zero where a matte is known: windows of known pixels alone are left out,
            which keeps the rows of all other pixels. None: all windows count.
        layout: "csr" or "coo" for a sparse torch tensor, "scipy" for a `scipy.sparse.csr_array`.

    Returns:
        (H W, H W), float64, with 32-bit indices where the layout has a choice.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes do not fit, the image is smaller than a window or holds NaN, the matrix
            would have 2³¹ entries, or an option is not one of those above.

    Not differentiable: use `matting_energy` or `MattingLaplacian`.

    Reference: Levin et al. 2008, equation 12.

    Example:
        >>> matting_laplacian(torch.rand(3, 4, 5)).shape
        torch.Size([20, 20])
    """
    op = "matting_laplacian"
    planes = checks.read_image(op, image, epsilon, radius)
    checks.expect_choice(op, "layout", layout, LAYOUTS)
    mask = checks.read_known(op, known, planes)
    checks.expect_entries(op, planes, radius)
    parts = torch.ops.pyfast.matting_matrix(planes, mask, float(epsilon), radius)
    row_start, column, value = parts
    pixels = planes[0].numel()
    shape = (pixels, pixels)
    if layout == "scipy":
        from scipy.sparse import csr_array

        arrays = [part.cpu().numpy() for part in (value, column, row_start)]
        return csr_array(tuple(arrays), shape=shape)
    matrix = torch.sparse_csr_tensor(row_start, column, value, shape, check_invariants=False)
    if layout == "csr":
        return matrix
    rows = torch.repeat_interleave(torch.arange(pixels, device=value.device), row_start.diff())
    indices = torch.stack([rows, column.long()])
    return torch.sparse_coo_tensor(indices, value, shape, is_coalesced=True, check_invariants=False)


class MattingLaplacian:
    """The matting Laplacian of an image as a linear operator, in float64, without a matrix.

    Args:
        image: (D, H, W), or (H, W) for one channel; uint8 and uint16 are scaled by their maximum.
        epsilon: see `matting_energy`.
        radius: of the windows, in pixels, 1 to 8.

    Attributes:
        image: (D, H, W), float64.
        epsilon, radius: as given.
        shape: (H W, H W).

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: the image is smaller than a window or holds NaN, or an option is not
            one of those above.

    Example:
        >>> laplacian = MattingLaplacian(torch.rand(3, 4, 5))
        >>> (laplacian @ torch.ones(20, dtype=torch.float64)).abs().max() < 1e-12
        tensor(True)
    """

    def __init__(self, image: Tensor, epsilon: float = 1e-7, radius: int = 1) -> None:
        self.image = checks.read_image("MattingLaplacian", image, epsilon, radius)
        self.epsilon, self.radius = float(epsilon), radius
        pixels = self.image[0].numel()
        self.shape = (pixels, pixels)

    def solve(
        self,
        rhs: Any,
        diag: Any = None,
        x0: Any = None,
        *,
        rtol: float = 1e-7,
        maxiter: int = 1000,
    ) -> Any:
        """The solution x of (L + diag(diag)) x = rhs, by conjugate gradients and multigrid.

        Args:
            rhs: right-hand sides, of any shape that `matvec` takes.
            diag: what is added to the diagonal, (H W,) or (H, W), from 0 to 1e30, and
                somewhere above 0. None: nothing; then `rhs` has to sum to 0, as all that L gives
                does, and the solution with a mean of 0 is returned.
            x0: a first guess, of the shape of `rhs`.
            rtol: iterations end when |rhs - A x| is so small, relative to |rhs|.
            maxiter: most iterations for each right-hand side.

        Returns:
            x, of the kind and shape of `rhs`, in float64.

        Raises:
            TypeError: an argument is of another type than above.
            ValueError: a shape does not fit, a number is NaN or infinite, `diag` is out of range or
                zero everywhere, or there is none and `rhs` does not sum to 0.

        Warns:
            RuntimeWarning: `rtol` was not reached; x is the last iterate.

        Differentiable in `rhs` and `diag` by one more solve.
        """
        op = "MattingLaplacian.solve"
        if isinstance(rhs, np.ndarray):
            device = self.image.device
            tensors = [
                a if a is None else torch.as_tensor(a, device=device) for a in (rhs, diag, x0)
            ]
            return self.solve(*tensors, rtol=rtol, maxiter=maxiter).cpu().numpy()
        vectors = self._as_planes(op, "rhs", rhs)
        checks.expect_iterations(op, rtol, maxiter)
        checks.expect_solvable(op, self.image)
        guess = torch.zeros_like(vectors) if x0 is None else self._as_planes(op, "x0", x0)
        if guess.shape != vectors.shape:
            raise checks.shape_error(op, "x0", str(tuple(rhs.shape)), x0)
        checks.expect_finite(op, "rhs", vectors)
        checks.expect_finite(op, "x0", guess)
        height, width = self.image.shape[-2:]
        if diag is None:
            checks.expect_zero_sum(op, vectors)
            weight = vectors.new_zeros(1, height, width)
        else:
            weight = checks.read_diagonal(op, diag, height, width)
        known = torch.zeros(1, height, width, dtype=torch.uint8, device=self.image.device)
        window = self.epsilon, self.radius
        x, reports = operators.solve(
            vectors, guess, self.image[None], weight, known, *window, rtol, maxiter
        )
        checks.warn_of_unconverged(op, reports, rtol)
        if diag is None:
            x = x - x.mean((2, 3), keepdim=True)
        return self._like(x, rhs)

    def _as_planes(self, op: str, name: str, v: Any) -> Tensor:
        """(1, K, H, W) in float64 of vectors in any shape."""
        checks.expect_tensor(op, name, v)
        if v.is_complex():
            raise checks.complex_error(op, name, v)
        height, width = self.image.shape[-2:]
        if v.dim() >= 2 and v.shape[-2:] == (height, width):
            return v.reshape(1, -1, height, width).to(torch.float64)
        if v.dim() in (1, 2) and v.shape[0] == self.shape[0]:
            planes = v.reshape(self.shape[0], -1).mT.reshape(1, -1, height, width)
            return planes.to(torch.float64)
        wanted = f"({self.shape[0]},), ({self.shape[0]}, K) or (..., {height}, {width})"
        raise checks.shape_error(op, name, wanted, v)

    def _like(self, planes: Tensor, v: Tensor) -> Tensor:
        """(1, K, H, W) in the shape of the vectors `v`."""
        if v.dim() >= 2 and v.shape[-2:] == self.image.shape[-2:]:
            return planes.view(v.shape)
        return planes.view(-1, self.shape[0]).mT.reshape(v.shape)

    def matvec(self, v: Any) -> Any:
        """L v for tensors or arrays: (H W,), (H W, K) or (…, H, W)."""
        if isinstance(v, np.ndarray):
            if np.iscomplexobj(v):
                raise checks.complex_error("MattingLaplacian", "v", v)
            vector = torch.from_numpy(np.ascontiguousarray(v, np.float64))
            return self.matvec(vector.to(self.image.device)).cpu().numpy()
        vectors = self._as_planes("MattingLaplacian", "v", v)
        product = operators.product(vectors, self.image[None], self.epsilon, self.radius)
        return self._like(product, v)

    def __matmul__(self, v: Any) -> Any:
        return self.matvec(v)

    def diagonal(self) -> Tensor:
        """(H W,): the diagonal of L."""
        diagonal: Tensor = torch.ops.pyfast.matting_diagonal(
            self.image[None], self.epsilon, self.radius
        )
        return diagonal.flatten()

    def eigs(
        self, k: int = 6, *, tol: float = 1e-6, maxiter: int = 200
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The smallest eigenvalues of L and their eigenvectors: the picture's soft segments.

        Args:
            k: how many, the constant with its eigenvalue 0 among them.
            tol: iterations end when |L v - lambda v| is below it for every unit vector v.
            maxiter: most iterations.

        Returns:
            Values (k,), ascending, and vectors (H W, k), orthonormal, as NumPy arrays. Of an image
            on a GPU the products are taken there, and all else on the CPU.

        Raises:
            TypeError: an argument is of another type than above.
            ValueError: `k` is not between 1 and a fifth of the pixels.

        Warns:
            UserWarning: `tol` was not reached in `maxiter` iterations.

        Reference: Levin, Rav-Acha, Lischinski 2008, Spectral Matting, IEEE TPAMI 30 (10); Knyazev
        2001, Toward the Optimal Preconditioned Eigensolver, SIAM J. Sci. Comput. 23 (2).
        """
        op = "MattingLaplacian.eigs"
        checks.expect_count(op, "k", k)
        pixels = self.shape[0]
        if 5 * k > pixels:
            raise ValueError(f"{op}: expected k up to {pixels // 5}, got {k}")
        checks.expect_solvable(op, self.image)
        constant = np.full((pixels, 1), pixels**-0.5)
        if k == 1:
            return np.zeros(1), constant

        def product(rows: Any) -> Any:
            v = torch.from_numpy(rows).view(-1, *self.image.shape[-2:])
            return self.matvec(v.to(self.image.device)).cpu().view(-1, pixels).numpy()

        values, vectors, residual = _C.with_matting_preconditioner(
            self.image.cpu().numpy(),
            np.full(pixels, self.epsilon),
            self.epsilon,
            self.radius,
            lambda cycle: smallest_eigenpairs(product, cycle, pixels, k - 1, tol, maxiter),
        )
        if residual > tol:
            warnings.warn(
                f"{op}: residuals are up to {residual:.1e} after {maxiter} iterations, tol was "
                f"{tol:.1e}",
                UserWarning,
                stacklevel=2,
            )
        return np.concatenate([[0.0], values]), np.hstack([constant, vectors.T])

    def to_scipy(self) -> Any:
        """The matrix as a `scipy.sparse.csr_array`."""
        return matting_laplacian(self.image, self.epsilon, self.radius, layout="scipy")

    def aslinearoperator(self) -> Any:
        """A `scipy.sparse.linalg.LinearOperator` that multiplies without a matrix."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            self.shape,
            matvec=lambda v: self.matvec(v.reshape(-1)),
            rmatvec=lambda v: self.matvec(v.reshape(-1)),
            matmat=self.matvec,
            rmatmat=self.matvec,
            dtype=np.float64,
        )
