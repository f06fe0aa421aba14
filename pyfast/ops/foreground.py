"""The colours of a subject without what shines through it.

At a pixel of a matte the picture is I = alpha F + (1 - alpha) B. F and B are found as those that
fit this and are smooth where alpha is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C  # noqa: F401  (registers the operators)
from pyfast.ops._checks import expect_choice, expect_number
from pyfast.ops._fake import register_fake
from pyfast.ops._pictures import read_picture, read_plane
from pyfast.ops._vmap import fold_vmap


def estimate_foreground(
    image: Any,
    alpha: Any,
    *,
    method: str = "multilevel",
    return_background: bool = False,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    small_iterations: int = 10,
    big_iterations: int = 4,
    small_size: int = 32,
    rtol: float = 5e-6,
) -> Any:
    """The colours of the foreground (and of the background) behind a matte.

    Both methods look for the least of

        sum_i (alpha_i F_i + (1 - alpha_i) B_i - I_i)^2
            + sum_ij (regularization + gradient_weight |alpha_i - alpha_j|)
                     ((F_i - F_j)^2 + (B_i - B_j)^2)

    over neighbours i, j. Pictures of growing size are gone through, each begun with the colours of
    the one before. At each size some steps of an iteration are done: every second row, then the
    rows between, each pixel's two colours exactly for fixed neighbours.

    Args:
        image: a picture: tensor (C, H, W) or (B, C, H, W), array (H, W, C) or (H, W), or Pillow's;
            floats in [0, 1], uint8 or uint16. A fourth channel is left out.
        alpha: the matte, (H, W), or (B, H, W) for a batch, of any kind.
        method: "multilevel", some steps that keep colours in [0, 1]; or "closed_form", the solution
            itself, which conjugate gradients reach from there, clipped to [0, 1] at the end. The
            latter counts each pair of neighbours twice, as its authors do, and takes some five
            times as long.
        return_background: whether to return the background too.
        regularization: how much colours are to be smooth everywhere.
        gradient_weight: how much more so for each unit by which alpha changes between pixels.
        small_iterations: steps at sizes up to `small_size`.
        big_iterations: steps at larger sizes. With 4 the colours are nearer to the truth than with
            the 2 of the paper, and the time hardly grows.
        small_size: in pixels.
        rtol: of "closed_form": iterations end when the residual of the normal equations is so
            small, relative to their right-hand side. With 5e-6 what is seen, alpha F, was within
            2e-3 of the solution, and 5e-5 in the mean square, at a quarter megapixel.

    Returns:
        The foreground, or the foreground and the background, of the kind and dtype of `image`.
        They carry no gradient.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a shape or a value does not fit.

    Reference: Germer, Uelwer, Conrad, Harmeling 2020, Fast Multi-Level Foreground Estimation,
    equations 4 to 8 and algorithm 1; Levin, Lischinski, Weiss 2008, A Closed-Form Solution to
    Natural Image Matting, equation 19.

    Example:
        >>> image, alpha = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[1.0, 0.5, 0.0]])
        >>> estimate_foreground(image, alpha)
        tensor([[1.0000, 1.0000, 1.0000]])
    """
    op = "estimate_foreground"
    expect_number(op, "regularization", regularization, above=0)
    expect_number(op, "gradient_weight", gradient_weight, least=0)
    expect_choice(op, "method", method, ("multilevel", "closed_form"))
    closed = method == "closed_form"
    for name, count in (("small_iterations", small_iterations), ("big_iterations", big_iterations)):
        expect_number(op, name, count, whole=True, least=0)
    expect_number(op, "small_size", small_size, whole=True, least=0)
    expect_number(op, "rtol", rtol, above=0)
    pixels, form = read_picture(op, "image", image)
    matte, _ = read_plane(op, "alpha", alpha, pixels)
    pixels = pixels[:, :3]
    layers = torch.ops.pyfast.foreground(
        pixels.detach(),
        matte.detach().unsqueeze(1).to(pixels),
        regularization * (1 + closed),
        gradient_weight * (1 + closed),
        small_iterations,
        big_iterations,
        small_size,
        float(rtol) if closed else 0.0,
    )
    results = [form.restore(layer.clamp(0, 1) if closed else layer) for layer in layers]
    return tuple(results) if return_background else results[0]


def estimate_foreground_reference(
    image: Tensor,
    alpha: Tensor,
    *,
    return_background: bool = False,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    small_iterations: int = 10,
    big_iterations: int = 4,
    small_size: int = 32,
    tolerance: float = 0.0,
) -> Tensor | tuple[Tensor, Tensor]:
    """The definition: (B, C, H, W), (B, 1, H, W) -> once or twice (B, C, H, W).

    With a `tolerance` the levels' colours begin what `_solution` finds.
    """
    height, width = image.shape[2:]
    colours = torch.cat([_mean(image, alpha > 0.9), _mean(image, alpha < 0.1)], 1)
    levels = max(1, math.ceil(math.log2(max(height, width))))
    for level in range(levels + 1):
        size = [round(length ** (level / levels)) for length in (height, width)]
        i, a, colours = (_nearest(x, size) for x in (image, alpha, colours))
        weights = [
            regularization + gradient_weight * (a - neighbour).abs() for neighbour in _neighbours(a)
        ]
        total = torch.stack(weights).sum(0)
        determinant = total * (a**2 + (1 - a) ** 2 + total)
        odd = torch.arange(size[0], device=image.device)[:, None] % 2 == 1
        count = small_iterations if max(size) <= small_size else big_iterations
        for step in range(2 * count):
            pairs = zip(weights, _neighbours(colours), strict=True)
            pulls = torch.stack([weight * neighbour for weight, neighbour in pairs]).sum(0)
            front, back = pulls.chunk(2, 1)
            front, back = front + a * i, back + (1 - a) * i
            solved = torch.cat(
                [
                    ((1 - a) ** 2 + total) * front - a * (1 - a) * back,
                    (a**2 + total) * back - a * (1 - a) * front,
                ],
                1,
            )
            solved = solved / determinant
            solved = solved if tolerance else solved.clamp(0, 1)
            colours = torch.where(odd == bool(step % 2), solved, colours)
    front, back = colours.chunk(2, 1)
    if tolerance:
        front, back = _solution(
            image, alpha, front, back, regularization, gradient_weight, tolerance
        )
    return (front, back) if return_background else front


def _solution(
    image: Tensor,
    alpha: Tensor,
    front: Tensor,
    back: Tensor,
    regularization: float,
    gradient_weight: float,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """The normal equations' solution near a first guess, by conjugate gradients: one system for
    each channel, preconditioned by the pixels' own 2 x 2."""
    a = alpha.double()
    mix = torch.stack([a, 1 - a])
    weights = [regularization + gradient_weight * (a - other).abs() for other in _neighbours(a)]
    total = torch.stack(weights).sum(0)
    twice = [weight.repeat(2, 1, 1, 1) for weight in weights]  # for either layer

    def product(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        slopes = [w * (flat - other) for w, other in zip(twice, _neighbours(flat), strict=True)]
        return mix * (mix * x).sum(0) + torch.stack(slopes).sum(0).view_as(x)

    def precondition(r: Tensor) -> Tensor:
        # (m m^T + total)^-1 by Sherman and Morrison
        return (r - mix * (mix * r).sum(0) / (total + (mix**2).sum(0))) / total

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum((0, 3, 4), keepdim=True)

    x, b = torch.stack([front, back]).double(), mix * image.double()
    r, p, before = b - product(x), torch.zeros_like(x), torch.ones((), dtype=x.dtype)
    goal = tolerance**2 * dot(b, b)
    for step in range(10 * sum(image.shape[2:]) + 100):
        if step % 10 == 0 and bool((dot(r, r) <= goal).all()):
            break
        z = precondition(r)
        now = dot(r, z)
        p = z + now / before.clamp(min=1e-300) * p
        q = product(p)
        length = now / dot(p, q).clamp(min=1e-300)
        x, r, before = x + length * p, r - length * q, now
    return x[0].to(image), x[1].to(image)


def _mean(image: Tensor, where: Tensor) -> Tensor:
    """The mean colour where `where` is, (B, C, 1, 1)."""
    total = (image * where).double().sum((2, 3), keepdim=True)
    return (total / (where.double().sum((2, 3), keepdim=True) + 1e-5)).to(image.dtype)


def _nearest(x: Tensor, size: list[int]) -> Tensor:
    """Each pixel of the new size takes that at its own place, rounded down."""
    for dim, length in zip((2, 3), size, strict=True):
        places = torch.arange(length, device=x.device) * x.shape[dim] // length
        x = x.index_select(dim, places)
    return x


def _neighbours(x: Tensor) -> list[Tensor]:
    """Left, right, above, below; beyond the edge the pixel itself."""
    return [
        torch.cat([x[..., :1], x[..., :-1]], -1),
        torch.cat([x[..., 1:], x[..., -1:]], -1),
        torch.cat([x[..., :1, :], x[..., :-1, :]], -2),
        torch.cat([x[..., 1:, :], x[..., -1:, :]], -2),
    ]


# --- what torch must know of the operator ---------------------------------------------------------


@torch.library.impl("pyfast::foreground", "CUDA")
def _(image: Tensor, alpha: Tensor, *options: Any) -> Any:
    words = dict(zip(_OPTIONS, options, strict=True))
    return estimate_foreground_reference(image, alpha, return_background=True, **words)


_OPTIONS = (
    "regularization",
    "gradient_weight",
    "small_iterations",
    "big_iterations",
    "small_size",
    "tolerance",
)


@register_fake("pyfast::foreground")
def _(image: Tensor, alpha: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    torch._check(image.dim() == 4 and alpha.dim() == 4 and alpha.shape[1] == 1)
    shape = image.shape
    return image.new_empty(shape), image.new_empty(shape)


fold_vmap(torch.ops.pyfast.foreground.default, like=(None, None))
