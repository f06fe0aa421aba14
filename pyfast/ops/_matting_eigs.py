"""The smallest eigenvalues of an operator by block conjugate gradients (LOBPCG).

Every step looks for the best vectors in the span of the present ones X, of their preconditioned
residuals W, and of the last step's changes P. Vectors are rows, so that products and cycles of a
whole block read and write them where they lie.

Reference: Knyazev 2001, Toward the Optimal Preconditioned Eigensolver, SIAM J. Sci. Comput. 23 (2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Rows = np.ndarray[Any, Any]

CHUNK = 4096  # columns: of all vectors together they fit into a core's cache
TINY = np.finfo(float).tiny  # in place of a norm of 0


def smallest_eigenpairs(
    product: Callable[[Rows], Rows],
    cycle: Callable[[Rows], Rows],
    pixels: int,
    k: int,
    tol: float,
    maxiter: int,
) -> tuple[Rows, Rows, float]:
    """Values (k,), vectors (k, pixels) and the largest residual, constant vectors left out.

    `product` is A and `cycle` about its inverse, both for rows of vectors. Some more vectors than
    asked for are kept: the last ones converge slowly.
    """
    block = min(k + max(4, k // 2), pixels // 3)
    start = np.random.default_rng(0).standard_normal((block, pixels))
    x: Rows = np.empty((0, pixels))
    ax = x
    basis = _without_mean(cycle(_without_mean(start)))
    products = product(basis)
    for step in range(maxiter + 1):
        values, coefficients = _rayleigh_ritz(x, ax, basis, products, block)
        x, change = _combine(coefficients, x, basis)
        ax, of_change = _combine(coefficients, ax, products)
        norms = _norms(values, x, ax)
        if norms[:k].max() <= tol or step == maxiter:
            break
        active = norms > tol
        w = _without_mean(cycle(ax[active] - values[active, None] * x[active]))
        w -= (w @ x.T) @ x  # as rounding counts by what is new
        w /= np.maximum(np.linalg.norm(w, axis=1, keepdims=True), TINY)
        basis, products = w, product(w)
        if step > 0:  # the first step's changes are its vectors
            basis = np.concatenate([basis, change[active]])
            products = np.concatenate([products, of_change[active]])
    # Once more for these alone, as the steps' rounding adds up.
    x, nothing = x[:k], np.empty((0, pixels))
    ax = product(x)
    values, coefficients = _rayleigh_ritz(nothing, nothing, x, ax, k)
    x, ax = coefficients @ x, coefficients @ ax
    return values, x, float(_norms(values, x, ax).max())


def _norms(values: Rows, x: Rows, ax: Rows) -> Rows:
    norms: Rows = np.linalg.norm(ax - values[:, None] * x, axis=1)
    return norms


def _without_mean(v: Rows) -> Rows:
    v -= v.mean(1, keepdims=True)
    return v


def _rayleigh_ritz(x: Rows, ax: Rows, basis: Rows, products: Rows, count: int) -> tuple[Rows, Rows]:
    """The `count` smallest values in the span of x and of the basis, and rows of coefficients."""
    known, size = len(x), len(x) + len(basis)
    gram, form = np.zeros((size, size)), np.zeros((size, size))
    for at in range(0, basis.shape[1], CHUNK):
        part = slice(at, at + CHUNK)
        left, right = x[:, part], basis[:, part]
        for matrix, of_x, of_basis in (
            (gram, left, right),
            (form, ax[:, part], products[:, part]),
        ):
            matrix[:known, :known] += left @ of_x.T
            matrix[:known, known:] += left @ of_basis.T
            matrix[known:, known:] += right @ of_basis.T
    for matrix in (gram, form):
        matrix[known:, :known] = matrix[:known, known:].T
    scale = 1 / np.sqrt(np.maximum(gram.diagonal(), TINY))
    sizes, directions = np.linalg.eigh(gram * np.outer(scale, scale))
    keep = sizes > 1e-10 * sizes[-1]  # the others depend on each other
    orthonormal = scale[:, None] * directions[:, keep] / np.sqrt(sizes[keep])
    reduced = orthonormal.T @ ((form + form.T) / 2) @ orthonormal
    found, rotation = np.linalg.eigh(reduced)
    return found[:count], (orthonormal @ rotation[:, :count]).T


def _combine(coefficients: Rows, x: Rows, basis: Rows) -> tuple[Rows, Rows]:
    """The new vectors, and what of them is not of x."""
    known = len(x)
    result = np.empty((len(coefficients), basis.shape[1]))
    change = np.empty_like(result)
    for at in range(0, basis.shape[1], CHUNK):
        part = slice(at, at + CHUNK)
        np.matmul(coefficients[:, known:], basis[:, part], out=change[:, part])
        np.matmul(coefficients[:, :known], x[:, part], out=result[:, part])
        result[:, part] += change[:, part]
    return result, change
