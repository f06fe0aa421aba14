"""Alpha mattes by closed-form matting: how much of each pixel belongs to the foreground.

Reference: Levin, Lischinski, Weiss 2008, A Closed-Form Solution to Natural Image Matting, IEEE
TPAMI 30 (2).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from pyfast._native import _C
from pyfast.ops import _matting_checks as checks
from pyfast.ops import _matting_operators as operators
from pyfast.ops._matting_reference import matting_solve_reference
from pyfast.ops._pictures import Form, read_picture, read_plane
from pyfast.ops.trimaps import trimap_from_scribbles

__all__ = ["AlphaInfo", "estimate_alpha", "estimate_alpha_reference"]

BACKGROUND, FOREGROUND = 0.1, 0.9  # trimaps: at most, at least
HOLDING = 1e4  # a confidence that holds alpha at the prior, as it would be but for some 1e-4


@dataclass(frozen=True)
class AlphaInfo:
    """How a matte was found; of a batch the slowest one counts.

    Attributes:
        iterations: of conjugate gradients.
        residual: what is left of the right-hand side, relative to it.
        converged: whether `residual` reached `rtol`, or alpha `atol`.
        seconds: what the call took.
    """

    iterations: int
    residual: float
    converged: bool
    seconds: float


def estimate_alpha(
    image: Any,
    trimap: Any = None,
    *,
    scribbles: Any = None,
    prior: Any = None,
    confidence: Any = None,
    epsilon: float = 1e-7,
    radius: int = 1,
    rtol: float = 1e-7,
    atol: float | None = None,
    maxiter: int = 1000,
    x0: Any = None,
    callback: Callable[[int, float, float], Any] | None = None,
    return_info: bool = False,
) -> Any:
    """The alpha matte of a picture from a trimap, from strokes, or from a guess with confidences.

    Minimises alphaᵀ L alpha + sum of confidence (alpha - prior)², L being the matting Laplacian,
    with alpha held where trimap or strokes say it.

    Args:
        image: a picture, (C, H, W) or (B, C, H, W) as a tensor, (H, W) or (H, W, C) as an array, or
            of Pillow; grey or colours; floats in [0, 1], uint8 or uint16. The alpha channel of RGBA
            is left out, with a warning.
        trimap: (H, W), or (B, H, W) for a batch: background up to 0.1, foreground from 0.9 on,
            unknown between (25 and 230 of 255).
        scribbles: in place of it: strokes, as a plane like a trimap, or as the picture with strokes
            of black and white drawn on it.
        prior: a guess of alpha, of the shape of a trimap; alone, or beside one of them.
        confidence: weights of `prior`, of its shape, at least 0; 100 holds alpha there, and from
            1e4 on alpha is the prior. Needed with `prior`.
        epsilon: see `matting_energy`; 1e-5 for noisy or strongly compressed pictures.
        radius: of the windows, in pixels, 1 to 8. Larger ones see further, with a larger cost.
        rtol: iterations end when the residual is so small, relative to the right-hand side, of
            which confidences above 1 make no more than 1.
            1e-7 leaves an error of alpha of about 1e-5, 1e-5 one of 1e-3.
        atol: iterations end, too, when alpha is estimated to be so near to the solution in every
            pixel: from the largest changes of alpha in the last iterations, and how fast they
            shrink. 0.002 is enough for 8 bits. None: `rtol` alone counts.
        maxiter: most iterations.
        x0: a first guess, of the shape of a trimap, such as the matte of the frame before.
        callback: called with (iteration, residual, rtol) after each iteration.
        return_info: whether to return an `AlphaInfo` beside alpha.

    Returns:
        Alpha in [0, 1], in the kind, shape and dtype of the trimap (strokes, prior); a plane. With
        `return_info`, (alpha, info).

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: shapes do not fit, a value is not in its range or NaN, the image is smaller than
            a window, no pixel is marked as background or none as foreground, or marks and options
            contradict each other.

    Warns:
        RuntimeWarning: `rtol` was not reached in `maxiter` iterations; alpha is the last iterate.

    Differentiable in a tensor `image`, `prior` and `confidence` by one more solve.

    Reference: Levin et al. 2008, equations 12 and 14.

    Example:
        >>> image = torch.linspace(0, 1, 30).view(1, 5, 6)
        >>> trimap = torch.full((5, 6), 0.5)
        >>> trimap[0], trimap[-1] = 0, 1
        >>> estimate_alpha(image, trimap)[2, 0] > 0.3
        tensor(True)
    """
    op = "estimate_alpha"
    began = time.perf_counter()
    pixels, _ = read_picture(op, "image", image)
    marks, form = _read_marks(op, image, pixels, trimap, scribbles)
    if pixels.shape[1] == 4:
        warnings.warn(f"{op}: the alpha channel of image is left out", stacklevel=2)
        pixels = pixels[:, :3]
    checks.expect_window(op, epsilon, radius, (pixels.shape[2], pixels.shape[3]))
    checks.expect_iterations(op, rtol, maxiter)
    if atol is not None and not (isinstance(atol, Real) and 0 < atol < 1):
        raise ValueError(f"{op}: expected atol to be a float between 0 and 1 or None, got {atol!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"{op}: expected callback to be callable or None, got {callback!r}")
    guess, weight, guess_form = _read_prior(op, pixels, prior, confidence)
    if marks is None and guess_form is None:
        raise ValueError(f"{op}: expected a trimap, scribbles or a prior with its confidence")
    known, values = _constraints(
        op, pixels, marks, guess, weight, "trimap" if scribbles is None else "scribbles"
    )
    if guess_form is not None:
        held = weight >= HOLDING
        values = torch.where(held & ~known, guess, values)
        known, weight = known | held, weight.masked_fill(held, 0)
        rtol = _relative_to_marks(rtol, guess, weight)
    start = values if x0 is None else torch.where(known, values, _plane(op, "x0", x0, pixels))

    def solve() -> Any:
        return operators.solve(
            (weight if guess_form is None else weight * guess)[:, None],
            start[:, None],
            pixels.double(),
            weight,
            known.to(torch.uint8),
            float(epsilon),
            radius,
            float(rtol),
            maxiter,
        )

    goal = _Goal(atol, rtol, callback)
    solution, reports = goal.watch(solve) if goal.is_wanted else solve()
    info = _summary(reports, began)
    if info is not None and goal.explains(reports):
        info = replace(info, converged=True)
    else:
        checks.warn_of_unconverged(op, reports, rtol)
    wide = torch.float64 if form is None or form.dtype == torch.float64 else torch.float32
    alpha = (form or guess_form).restore(solution[:, 0].clamp(0, 1).to(wide))  # type: ignore[union-attr]
    return (alpha, info) if return_info else alpha


class _Goal:
    """Listens to a solve: passes on what it hears and says when alpha is near enough."""

    MEMORY = 8  # iterations

    def __init__(
        self, atol: float | None, rtol: float, callback: Callable[[int, float, float], Any] | None
    ) -> None:
        self.atol, self.rtol, self.callback = atol, rtol, callback
        self.is_wanted = atol is not None or callback is not None
        self._reached = 0  # solves of a batch that this ended
        self._changes: list[float] = []

    def watch(self, solve: Callable[[], Any]) -> Any:
        return _C.with_matting_progress(self._hear, solve)

    def _hear(self, iteration: int, residual: float, change: float) -> bool | None:
        if self.callback is not None:
            self.callback(iteration, residual, self.rtol)
        if self.atol is None:
            return None
        if iteration == 1:
            self._changes = []
        self._changes.append(change)
        if len(self._changes) <= 2 * self.MEMORY:
            return None
        # Changes shrink like a geometric series, with ups and downs: so the largest of a few.
        now, before = (
            max(self._changes[-self.MEMORY :]),
            max(self._changes[-2 * self.MEMORY : -self.MEMORY]),
        )
        ratio = (now / before) ** (1 / self.MEMORY) if before > 0 else 0.0
        if ratio >= 1 or now / (1 - ratio) > self.atol:
            return None
        self._reached += 1
        return True

    def explains(self, reports: Tensor) -> bool:
        """Whether all solves (B, K, 3) that ended before `rtol` are near enough."""
        return int((reports[..., 2] != 1).sum()) <= self._reached


def estimate_alpha_reference(
    image: Tensor,
    trimap: Tensor,
    prior: Tensor,
    confidence: Tensor,
    epsilon: float = 1e-7,
    radius: int = 1,
) -> Tensor:
    """The definition of `estimate_alpha`, by a dense solve: (B, D, H, W), planes (B, H, W)."""
    known = (trimap <= BACKGROUND) | (trimap >= FOREGROUND)
    values = (trimap >= FOREGROUND).to(image.dtype)
    solution = matting_solve_reference(
        (confidence * prior)[:, None], image, confidence, known, values[:, None], epsilon, radius
    )
    return solution[:, 0].clamp(0, 1)


def _plane(op: str, name: str, value: Any, pixels: Tensor) -> Tensor:
    return read_plane(op, name, value, pixels)[0].to(torch.float64)


def _read_marks(
    op: str, image: Any, pixels: Tensor, trimap: Any, scribbles: Any
) -> tuple[Tensor | None, Form | None]:
    """A trimap (B, H, W) of a trimap or of strokes."""
    if trimap is not None and scribbles is not None:
        raise ValueError(f"{op}: expected trimap or scribbles, got both")
    if trimap is not None:
        return read_plane(op, "trimap", trimap, pixels)
    if scribbles is None:
        return None, None
    drawn, form = read_picture(op, "scribbles", scribbles)
    if drawn.shape[1] == 1:
        return read_plane(op, "scribbles", scribbles, pixels)
    trimap, form = read_plane(op, "scribbles", trimap_from_scribbles(image, scribbles), pixels)
    return trimap, form


def _read_prior(
    op: str, pixels: Tensor, prior: Any, confidence: Any
) -> tuple[Tensor, Tensor, Form | None]:
    """Prior and confidence (B, H, W) in float64, zeros where there are none."""
    if (prior is None) != (confidence is None):
        given, missing = ("prior", "confidence") if confidence is None else ("confidence", "prior")
        raise ValueError(f"{op}: expected {missing} with {given}, got None")
    if prior is None:
        zeros = pixels.new_zeros(pixels.shape[0], *pixels.shape[2:], dtype=torch.float64)
        return zeros, zeros, None
    guess, form = read_plane(op, "prior", prior, pixels)
    weight = read_plane(op, "confidence", confidence, pixels, bounded=False)[0]
    if checks.shows_values(weight) and not bool((weight >= 0).all() & weight.isfinite().all()):
        raise ValueError(f"{op}: expected confidence to be finite and at least 0")
    return guess.to(torch.float64), weight.to(torch.float64), form


def _relative_to_marks(rtol: float, guess: Tensor, weight: Tensor) -> float:
    """`rtol` for a right-hand side that large weights have made large, so that what is small beside
    them counts as it would without them."""
    if not checks.shows_values(weight):
        return rtol
    weight, guess = weight.detach(), guess.detach()
    small, full = ((w * guess).flatten(1).norm(dim=1) for w in (weight.clamp(max=1), weight))
    return rtol * float((small / full).nan_to_num(1).min())


def _constraints(
    op: str, pixels: Tensor, marks: Tensor | None, guess: Tensor, weight: Tensor, name: str
) -> tuple[Tensor, Tensor]:
    """Where alpha is known, (B, H, W), and its values there, 0 elsewhere."""
    if marks is None:
        if checks.shows_values(weight) and not bool((weight > 0).flatten(1).any(1).all()):
            raise ValueError(f"{op}: expected a confidence above 0 in every picture")
        return torch.zeros_like(weight, dtype=torch.bool), torch.zeros_like(weight)
    is_foreground, is_background = marks >= FOREGROUND, marks <= BACKGROUND
    known = is_foreground | is_background
    if checks.shows_values(marks):
        held = weight.flatten(1).amax(1) > 0
        free = ~known.flatten(1).all(1) & ~held
        for kind, mark, alpha in (
            ("foreground", is_foreground, 0),
            ("background", is_background, 1),
        ):
            if bool((free & ~mark.flatten(1).any(1)).any()):
                raise ValueError(
                    f"{op}: expected {name} to mark some pixels as {kind}, got none; alpha would "
                    f"be {alpha} everywhere"
                )
    return known, is_foreground.to(torch.float64)


def _summary(reports: Tensor, began: float) -> AlphaInfo | None:
    """Of a batch of reports (B, K, 3); None where there are no values to look at."""
    if not checks.shows_values(reports):
        return None
    rows = reports.detach().flatten(0, 1).tolist()
    iterations, residuals, converged = zip(*rows, strict=True) if rows else ((0,), (0.0,), (1.0,))
    return AlphaInfo(
        int(max(iterations)), max(residuals), all(converged), time.perf_counter() - began
    )
