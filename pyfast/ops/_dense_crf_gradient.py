"""The gradient of the mean field by its formula: one step back for each iteration.

With b = Q_{t+1} (g - sum g Q_{t+1}) for the gradient g in Q_{t+1}, the energies get -b, the weight
of kernel m gets -<mu' b, K~_m Q_t>, the costs mu get -w_m b (K~_m Q_t)', and Q_t gets
-sum_m w_m K~_m' mu' b. Features get theirs through the barycentric weights of the lattice.

Reference: Krähenbühl, Koltun 2013, Parameter Learning and Convergent Inference for Dense Random
Fields, section 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ops = torch.ops.pyfast
NONE, BEFORE, AFTER, SYMMETRIC = range(4)


def pixel_features(image: Tensor, sigmas: Tensor) -> Tensor:
    """(B, C, H, W), (B or 1, 3) -> (B, 2 + C, H * W), as `dense_crf` makes them."""
    height, width = image.shape[2:]
    y = torch.arange(height, dtype=image.dtype, device=image.device)[:, None]
    x = torch.arange(width, dtype=image.dtype, device=image.device)
    where = torch.stack([x.expand(height, width), y.expand(height, width)]).flatten(1)
    where = where / sigmas[:, 0, None, None]
    colours = image.flatten(2) / sigmas[:, 1, None, None]
    return torch.cat([where.expand(image.shape[0], -1, -1), colours], 1)


def grid_matrix(length: int, sigma: Tensor, normalization: int) -> Tensor:
    """K~ of a Gaussian on a line of pixels. On a grid: along rows, then along columns."""
    position = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    kernel = torch.exp(-0.5 * ((position[:, None] - position) / sigma).square())
    mass = kernel.sum(1)
    if normalization == BEFORE:
        return kernel / mass
    if normalization == AFTER:
        return kernel / mass[:, None]
    if normalization == SYMMETRIC:
        return kernel * mass.rsqrt() * mass.rsqrt()[:, None]
    return kernel


def grid_slope(length: int, sigma: Tensor, normalization: int) -> tuple[Tensor, Tensor]:
    """`grid_matrix` and its derivative in sigma."""
    matrix = grid_matrix(length, sigma, normalization)
    kernel = grid_matrix(length, sigma, NONE)
    position = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    growth = (position[:, None] - position).square() / sigma**3
    relative = (kernel * growth).sum(1) / kernel.sum(1)  # of the row sums
    if normalization == BEFORE:
        growth = growth - relative
    elif normalization == AFTER:
        growth = growth - relative[:, None]
    elif normalization == SYMMETRIC:
        growth = growth - 0.5 * (relative + relative[:, None])
    return matrix, matrix * growth


class _Lattice:
    """K~ of the bilateral kernel, and the gradient in its features."""

    def __init__(self, features: Tensor, words: Tensor, normalization: int, closed: bool) -> None:
        if words.numel() == 0:
            words = _ops.gaussian_lattice(features, closed)
        dims, _, _, vertices, used, slabs = words[:6].tolist()
        self.features, self.words = features, words
        self.sizes = dims, vertices, used, slabs
        self.normalization = normalization
        self.ones = torch.ones_like(features[:, :1])
        self.mass = self.raw(self.ones, False).clamp_min(1e-20)
        root = self.mass.rsqrt()
        self.before = {BEFORE: 1 / self.mass, SYMMETRIC: root}.get(normalization, self.ones)
        self.after = {AFTER: 1 / self.mass, SYMMETRIC: root}.get(normalization, self.ones)
        self.grad = torch.zeros_like(features)
        self.grad_before, self.grad_after = torch.zeros_like(root), torch.zeros_like(root)

    def raw(self, values: Tensor, transposed: bool) -> Tensor:
        return _ops.gaussian_filter(values, self.features, self.words, *self.sizes, transposed)

    def add(self, grad: Tensor, values: Tensor) -> None:
        self.grad += _ops.gaussian_filter_backward(
            grad, values, self.features, self.words, *self.sizes
        )

    def back(self, grad: Tensor, marginals: Tensor, sums: Tensor | None) -> Tensor:
        """K~' grad. With `sums`, K D marginals, adds to the gradient in the features."""
        scaled = grad * self.after
        returned = self.raw(scaled, True)
        if sums is not None:
            self.add(scaled, marginals * self.before)
            self.grad_after += (grad * sums).sum(1, keepdim=True)
            self.grad_before += (marginals * returned).sum(1, keepdim=True)
        return returned.mul_(self.before)

    def finish(self) -> Tensor:
        """The gradient in the features, that of the normaliser included."""
        if self.normalization == SYMMETRIC:
            self.add((self.grad_after + self.grad_before) * -0.5 * self.mass**-1.5, self.ones)
        elif self.normalization == BEFORE:
            self.add(-self.grad_before / self.mass.square(), self.ones)
        elif self.normalization == AFTER:
            self.add(-self.grad_after / self.mass.square(), self.ones)
        return self.grad


class _Grid:
    """K~ of the Gaussian on the pixel grid, one sigma for each image, and the gradient in it."""

    def __init__(self, size: tuple[int, int], sigmas: Tensor, normalization: int) -> None:
        self.size, self.sigmas, self.normalization = size, sigmas, normalization
        self.grad = torch.zeros_like(sigmas)

    def apply(self, values: Tensor, transposed: bool = False) -> Tensor:
        swapped = {BEFORE: AFTER, AFTER: BEFORE}
        kind = swapped.get(self.normalization, self.normalization) if transposed else None
        kind = self.normalization if kind is None else kind
        planes = values.unflatten(2, self.size)
        parts = zip(planes.chunk(len(self.sigmas)), self.sigmas, strict=True)
        return torch.cat([_ops.gaussian_grid(p, s, kind) for p, s in parts]).flatten(2)

    def add(self, grad: Tensor, marginals: Tensor) -> None:
        grads, values = (t.unflatten(2, self.size) for t in (grad, marginals))
        count = len(self.sigmas)
        parts = zip(grads.chunk(count), values.chunk(count), self.sigmas, strict=True)
        for i, (g, v, sigma) in enumerate(parts):
            (columns, columns_slope), (rows, rows_slope) = (
                grid_slope(length, sigma, self.normalization) for length in self.size
            )
            slope = columns_slope @ (v @ rows.mT) + columns @ (v @ rows_slope.mT)
            self.grad[i] += (g * slope).sum()


def dense_crf_backward(
    grad: Tensor,
    unary: Tensor,
    image: Tensor,
    sigmas: Tensor,
    weights: Tensor,
    compatibility: Tensor,
    words: Tensor,
    marginals: Tensor,
    history: Tensor,
    normalization: int,
    method: int,
    of_features: bool,
    of_sigma: bool,
    of_weights: bool = True,
) -> tuple[Tensor, ...]:
    """Gradients in unary, image, sigmas, weights and compatibility, of their shapes.

    Args:
        grad: of the marginals, (B, L, H, W).
        unary: (B, L, H, W).
        image: (B, C, H, W).
        sigmas: (B or 1, 3).
        weights: (B or 1, 2).
        compatibility: (B or 1, L, L).
        words: the lattice of all images, or empty: it is made anew.
        marginals: the result, (B, L, H, W).
        history: what each iteration started from, (T, B, L, H, W).
        normalization: its number.
        method: its number.
        of_features: whether the image or a sigma of the bilateral kernel has a gradient.
        of_sigma: whether the sigma of the Gaussian has one.
        of_weights: whether weights or the compatibility have one. What has none may be 0.
    """
    batch, labels, *size = unary.shape
    features = pixel_features(image, sigmas)
    if unary.numel() == 0:
        return tuple(map(torch.zeros_like, (unary, image, sigmas, weights, compatibility)))
    lattice = _Lattice(features, words, normalization, method == 1)
    grid = _Grid((size[0], size[1]), sigmas[:, 2], normalization)
    w = weights.expand(batch, 2)[:, :, None, None]
    g = grad.flatten(2)
    grad_unary = torch.zeros_like(g)
    grad_weights = weights.new_zeros(batch, 2)
    grad_costs = compatibility.new_zeros(batch, labels, labels)

    aside = torch.empty_like(g)

    def through_softmax(g: Tensor, q: Tensor) -> Tensor:
        """q (g - sum g q), in the place of g."""
        b = g.sub_(torch.mul(g, q, out=aside).sum(1, keepdim=True)).mul_(q)
        grad_unary.sub_(b)
        return b

    steps = [*history.flatten(3), marginals.flatten(2)]
    g = g.clone()
    for t in reversed(range(len(steps) - 1)):
        b, q = through_softmax(g, steps[t + 1]), steps[t]
        cost = compatibility.mT @ b
        sums = lattice.raw(q * lattice.before, False) if of_features or of_weights else None
        if of_weights and sums is not None:
            by_colour, by_place = sums * lattice.after, grid.apply(q)
            grad_weights[:, 0] -= torch.mul(cost, by_colour, out=aside).sum((1, 2))
            grad_weights[:, 1] -= torch.mul(cost, by_place, out=aside).sum((1, 2))
            grad_costs -= b @ by_colour.mul_(w[:, 0]).add_(by_place.mul_(w[:, 1])).mT
        to_grid = torch.mul(cost, -w[:, 1], out=b)
        if of_sigma:
            grid.add(to_grid, q)
        g = lattice.back(cost.mul_(-w[:, 0]), q, sums if of_features else None)
        g += grid.apply(to_grid, transposed=True)
    through_softmax(g, steps[0])

    def of(parameter: Tensor, gradient: Tensor) -> Tensor:
        """One parameter for all images has the gradients of all."""
        return gradient if len(parameter) == batch else gradient.sum(0, keepdim=True)

    grad_features = lattice.finish() if of_features else lattice.grad
    by_feature = -(grad_features * features).sum(2)
    grad_sigmas = torch.stack([by_feature[:, :2].sum(1), by_feature[:, 2:].sum(1)], 1)
    grad_sigmas = of(sigmas, grad_sigmas) / sigmas[:, :2]
    grad_image = (grad_features[:, 2:] / sigmas[:, 1, None, None]).view(image.shape)
    unknown = torch.isnan(unary).any(1, keepdim=True) | (unary == torch.inf).all(1, keepdim=True)
    grad_unary = grad_unary.view(unary.shape)
    return (
        grad_unary.masked_fill_(unknown | ~torch.isfinite(unary), 0),
        grad_image.contiguous(),
        torch.cat([grad_sigmas, grid.grad[:, None]], 1),
        of(weights, grad_weights),
        of(compatibility, grad_costs).contiguous(),
    )


def _register() -> Any:
    library = torch.library.Library("pyfast", "FRAGMENT")
    library.define(
        "dense_crf_steps_backward(Tensor grad, Tensor unary, Tensor image, Tensor sigmas, Tensor "
        "weights, Tensor compatibility, Tensor lattice, Tensor marginals, Tensor history, int "
        "normalization, int method, bool of_features, bool of_sigma, bool of_weights=True) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor)"
    )
    library.impl("dense_crf_steps_backward", dense_crf_backward, "CPU")
    return library


LIBRARY = _register()  # as long as it lives, so does the operator
