"""Closed-form matting: opacities that are linear in the colours of every small window.

Reference: Levin, Lischinski, Weiss: A Closed-Form Solution to Natural Image Matting, 2008, IEEE
TPAMI 30 (2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from pyfast.ops import estimate_alpha, trimap_from_mask
from pyfast.ops.alpha import estimate_alpha_reference
from pyfast.zoo.registry import register
from pyfast.zoo.system import Config, System

if TYPE_CHECKING:
    from pyfast.train.updates import Update

UNKNOWN = 0.5


@dataclass(frozen=True)
class MattingConfig(Config):
    """Settings of closed-form matting, see `pyfast.estimate_alpha`.

    Args:
        backend: "pyfast", or "torch": a dense solve, for small pictures.
        epsilon: keeps windows of one colour solvable; larger for noisy pictures.
        radius: of the windows, in pixels.
        rtol: residual at which iterations end.
        maxiter: most iterations.
        size: side of the scenes of `dataset`, in pixels.
    """

    epsilon: float = 1e-7
    radius: int = 1
    rtol: float = 1e-7
    maxiter: int = 1000
    size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_positive("radius", "maxiter", "size")

    @classmethod
    def tiny(cls) -> MattingConfig:
        return cls(size=48)


@register(
    "matting",
    summary="Closed-form matting: opacities from a trimap, strokes or a mask",
    task="matting",
    paper="Levin et al. 2008, IEEE TPAMI 30 (2)",
    ops=("matting_laplacian",),
)
class Matting(System):
    """Closed-form matting, which has nothing to learn."""

    Config = MattingConfig
    config: MattingConfig

    @property
    def device(self) -> torch.device:
        """Of example inputs: without weights a picture is treated where it is."""
        return torch.device("cpu")

    @property
    def no_onnx(self) -> str:
        return "it solves equations, for which ONNX has no operator"

    def forward(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Opacities (B, H, W) in [0, 1]; differentiable in the image.

        Args:
            image: red, green, blue in [0, 1], (B, 3, H, W).
            trimap: 1 foreground, 0 background, between them unknown, (B, H, W).
        """
        config = self.config
        if config.backend == "torch":
            nothing = torch.zeros_like(trimap, dtype=torch.float64)
            planes = (image.double(), trimap.double(), nothing, nothing)
            found = estimate_alpha_reference(*planes, config.epsilon, config.radius)
            return found.to(trimap.dtype)
        alpha: Tensor = estimate_alpha(image, trimap, **self._options())
        return alpha

    def matte(
        self,
        image: Any,
        trimap: Any = None,
        *,
        scribbles: Any = None,
        mask: Any = None,
        erode: float = 10,
        dilate: float = 10,
    ) -> Any:
        """Opacities of a picture, without gradients; always by `pyfast.estimate_alpha`.

        Args:
            image: a picture of any kind that `pyfast.estimate_alpha` takes.
            trimap: 1 foreground, 0 background, between them unknown.
            scribbles: in place of it: strokes, or the picture with strokes on it.
            mask: in place of both: where the subject is, such as `labels == 3` of a segmentation.
            erode: pixels inside the border of the mask that are unknown.
            dilate: the same outside.

        Returns:
            Alpha of the kind of the marks.

        Raises:
            TypeError, ValueError: as of `pyfast.estimate_alpha` and `pyfast.trimap_from_mask`.
        """
        if mask is not None:
            if trimap is not None or scribbles is not None:
                raise ValueError("matte: expected one of trimap, scribbles and mask, got several")
            trimap = trimap_from_mask(mask, erode, dilate)
        with torch.no_grad():
            return estimate_alpha(image, trimap, scribbles=scribbles, **self._options())

    def _options(self) -> dict[str, Any]:
        names = ("epsilon", "radius", "rtol", "maxiter")
        return {name: getattr(self.config, name) for name in names}

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        image = torch.rand(batch, 3, 12, 14, device=self.device)
        trimap = torch.full((batch, 12, 14), UNKNOWN, device=self.device)
        trimap[:, :2], trimap[:, -2:] = 0, 1
        return image, trimap

    def updates(self) -> Sequence[Update]:
        """None: there is nothing to learn."""
        return []

    def dataset(self, split: str = "train") -> Dataset[Any]:
        """Images, trimaps and true mattes: photographs over each other, half of the pairs a split.

        Raises:
            ValueError: another split than "train" and "test".
        """
        from pyfast.data import PHOTOGRAPHS, matte_scene

        if split not in ("train", "test"):
            raise ValueError(f"split: expected train or test, got {split!r}")
        pairs = list(permutations(PHOTOGRAPHS, 2))[split == "test" :: 2]
        side = self.config.size
        scenes = [matte_scene(side, side, *pair) for pair in pairs]
        image, alpha, _, _, trimap, _ = (torch.stack(part) for part in zip(*scenes, strict=True))
        return TensorDataset(image, trimap, alpha)

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Means over the pictures of what `pyfast.data.matte_errors` says of unknown pixels."""
        from pyfast.data import matte_errors

        errors = []
        for image, trimap, true in batches:
            found = self.matte(image, trimap)
            unknown = trimap == UNKNOWN
            parts = (part.cpu().numpy() for part in (found, true, unknown))
            errors += [matte_errors(*each) for each in zip(*parts, strict=True)]
        return {name: sum(each[name] for each in errors) / len(errors) for name in errors[0]}
