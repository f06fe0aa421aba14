"""Cholesky's factors.

PyMatting leaves small entries out of them, which takes less memory and more steps of `cg`. Here
they are complete, by SuperLU, so that one step or two suffice; the thresholds are taken and not
needed. `estimate_alpha_cf` needs no factors at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

__all__ = ["CholeskyDecomposition", "ichol"]

_SHIFTS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 10.0, 100, 1e3, 1e4, 1e5)


class CholeskyDecomposition:
    """Factors of a matrix; called with a vector, solves with them."""

    def __init__(self, factors: Any) -> None:
        self._factors = factors

    @property
    def L(self) -> Any:
        """L with A = L L^T, sparse; its rows are in A's order, so it is a permuted triangle."""
        root = scipy.sparse.diags(np.sqrt(self._factors.U.diagonal()))
        return (self._factors.L @ root).tocsc()[self._factors.perm_r, :]

    def __call__(self, b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self._factors.solve(np.asarray(b, dtype=np.float64)))


def ichol(
    A: Any,
    discard_threshold: float = 1e-4,
    shifts: Sequence[float] = _SHIFTS,
    max_nnz: int = int(4e9 / 16),
    relative_discard_threshold: float = 0.0,
    diag_keep_discarded: bool = True,
) -> CholeskyDecomposition:
    """The factors of a symmetric positive definite matrix.

    Args:
        A: CSC or CSR matrix of SciPy.
        discard_threshold: not needed.
        shifts: tried one after another: A with its diagonal enlarged by this share, until it is
            positive definite.
        max_nnz: the most entries that a factor may have.
        relative_discard_threshold: not needed.
        diag_keep_discarded: not needed.

    Raises:
        ValueError: `A` is no such matrix, no shift helps, or a factor is larger than `max_nnz`.
    """
    if scipy.sparse.issparse(A) and A.format == "csr":
        A = A.T
    if not scipy.sparse.issparse(A) or A.format != "csc":
        raise ValueError(f"ichol: expected A to be a scipy.sparse.csc_matrix, got {type(A)}")
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"ichol: expected A to be square, got {A.shape}")
    diagonal = scipy.sparse.diags(A.diagonal())
    for shift in shifts:
        try:
            factors = splu(
                (A + shift * diagonal).tocsc(),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError:  # exactly singular
            continue
        if factors.L.nnz > max_nnz:
            raise ValueError(
                f"ichol: expected factors of at most max_nnz = {max_nnz} entries, got "
                f"{factors.L.nnz}; estimate_alpha_cf without a preconditioner needs no factors"
            )
        if (factors.U.diagonal() > 0).all():
            return CholeskyDecomposition(factors)
    raise ValueError(
        "ichol: expected A to be positive definite; enlarging its diagonal did not help"
    )
