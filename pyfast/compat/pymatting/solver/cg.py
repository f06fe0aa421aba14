"""Conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cg"]


def cg(
    A: Any,
    b: NDArray[Any],
    x0: NDArray[Any] | None = None,
    atol: float = 0.0,
    rtol: float = 1e-7,
    maxiter: int = 10000,
    callback: Callable[..., object] | None = None,
    M: Any = None,
    reorthogonalize: bool = False,
) -> NDArray[Any]:
    """Solves `A x = b` for a symmetric positive definite `A`.

    Args:
        A: matrix with a method `dot`, or a function of a vector.
        b: right-hand side, (n,).
        x0: where to start. None: at 0.
        atol: norm of the residual at which to stop.
        rtol: the same, as a share of the norm of `b`.
        maxiter: the most steps.
        callback: called after each step with A, x, b, norm of b, residual, norm of it.
        M: preconditioner, matrix or function. None: none.
        reorthogonalize: whether a preconditioner may change from step to step.

    Raises:
        ValueError: the residual is still too large after `maxiter` steps.

    Reference: Hestenes, Stiefel 1952, Methods of Conjugate Gradients for Solving Linear Systems;
    for `reorthogonalize` Notay 2000, Flexible Conjugate Gradients.

    >>> cg(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([4.0, 3.0]))
    array([1., 1.])
    """
    product = A if callable(A) else A.dot
    precondition = (lambda r: r.copy()) if M is None else M if callable(M) else M.dot
    b = np.asarray(b, dtype=np.float64)
    x = np.zeros_like(b) if x0 is None else np.array(x0, dtype=np.float64)
    norm_b = float(np.linalg.norm(b))
    limit = max(atol, rtol * norm_b)
    residual = b - product(x)
    norm = float(np.linalg.norm(residual))
    if norm <= limit:
        return x
    z = precondition(residual)
    direction, descent = z.copy(), float(residual @ z)
    for _ in range(maxiter):
        image = product(direction)
        step = descent / float(direction @ image)
        before = residual
        x = x + step * direction
        residual = residual - step * image
        norm = float(np.linalg.norm(residual))
        if callback is not None:
            callback(A, x, b, norm_b, residual, norm)
        if norm <= limit:
            return x
        z = precondition(residual)
        gain = float((residual - before) @ z if reorthogonalize else residual @ z)
        direction = z + gain / descent * direction
        descent = float(residual @ z)
    raise ValueError(
        f"cg: expected a residual of at most {limit:.3g} within {maxiter} steps, got {norm:.3g}"
    )
