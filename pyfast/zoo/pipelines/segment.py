"""From a picture of any kind and size to its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyfast.data.image_files import as_rgb
from pyfast.ops._pictures import Form, opened, read_picture

if TYPE_CHECKING:
    from pyfast.nn import DenseCRF
    from pyfast.zoo.segmentation._segmenter import Segmenter


@dataclass(frozen=True)
class Segmentation:
    """What a model says of one picture.

    Attributes:
        labels: of the pixels, (H, W): int64 tensor, uint8 array (int64 beyond 256 labels) or
            picture of Pillow with a palette, as the picture came.
        names: of the labels, empty where the model has none.
        shares: part of the picture that each label has, (L,), in [0, 1].
        probabilities: of all labels, float32 (L, H, W), on the CPU; or None.
        overlay: the picture under the colours of its labels, in the kind that came.
    """

    labels: Any
    names: tuple[str, ...]
    shares: Tensor
    probabilities: Tensor | None
    overlay: Any

    @property
    def found(self) -> dict[str, float]:
        """Names, or numbers, of the labels in the picture with their shares, largest first."""
        names = self.names or [str(number) for number in range(len(self.shares))]
        shares = sorted(zip(self.shares.tolist(), names, strict=True), reverse=True)
        return {name: share for share, name in shares if share}


def segment(
    picture: Any,
    model: str | PathLike[str] | Segmenter,
    *,
    crf: bool | DenseCRF | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    opacity: float = 0.5,
    keep_probabilities: bool = False,
) -> Any:
    """Gives every pixel of a picture a label.

    The picture may have any size. With tiles the network sees only parts of it, which overlap and
    are blended, so that memory does not grow with the picture; the CRF then sees the whole.

    Args:
        picture: path, picture of Pillow, array (H, W), (H, W, C) or (B, H, W, C), tensor (H, W),
            (C, H, W) or (B, C, H, W); floats in [0, 1], or uint8, uint16 or bool. What is
            transparent counts as black.
        model: a system for segmentation, or what `from_pretrained` takes.
        crf: whether a dense CRF refines the result, or which one; None: as the model's config says.
        scales: of copies of the picture, over whose probabilities the mean is taken.
        flip: whether mirrored copies take part.
        tile: side of tiles in pixels; None: the picture as a whole.
        overlap: pixels that neighbouring tiles share; None: a quarter of the tile.
        opacity: of the colours in the overlay.
        keep_probabilities: whether the result has the probabilities of all labels.

    Returns:
        A `Segmentation`; of a batch a list of them.

    Raises:
        FileNotFoundError: no such picture or model.
        TypeError: this is no picture, or the model is none for segmentation.
        ValueError: a shape or a value does not fit.

    Example:
        >>> from pyfast import data, zoo
        >>> model = zoo.create_model("deeplabv2_vgg16.tiny")
        >>> result = zoo.segment(data.photograph("china"), model, crf=True, tile=256)
        >>> tuple(result.labels.shape)
        (427, 640)
    """
    if isinstance(model, str | PathLike):
        from pyfast.zoo.hub import from_pretrained

        model = from_pretrained(model)
    from pyfast.zoo.segmentation._segmenter import Segmenter

    if not isinstance(model, Segmenter):
        raise TypeError(f"segment: expected a model for segmentation, got {type(model).__name__}")
    if tile is not None and tile < 1:
        raise ValueError(f"segment: expected a positive tile, got {tile}")
    overlap = (tile or 0) // 4 if overlap is None else overlap
    if tile is not None and not 0 <= overlap < tile:
        raise ValueError(f"segment: expected overlap from 0 to below {tile}, got {overlap}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"segment: expected opacity from 0 to 1, got {opacity}")
    pixels, form = read_picture("segment", "picture", opened(picture))
    image = as_rgb(pixels.float())
    options: Any = {"crf": crf, "scales": scales, "flip": flip}
    results = []
    for one in image.split(1):
        found = _probabilities(model, one.to(model.device), tile, overlap, **options)
        results.append(_result(one, found, model.config, form, opacity, keep_probabilities))
    return results if form.batched else results[0]


def _probabilities(
    model: Segmenter,
    image: Tensor,
    tile: int | None,
    overlap: int,
    *,
    crf: bool | DenseCRF | None,
    scales: Sequence[float],
    flip: bool,
) -> Tensor:
    height, width = image.shape[-2:]
    if tile is None or max(height, width) <= tile:
        return model.probabilities(image, crf=crf, scales=scales, flip=flip)
    total = image.new_zeros(1, model.config.classes, height, width)
    weights = image.new_zeros(height, width)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            rows, columns = slice(top, top + tile), slice(left, left + tile)
            part = image[..., rows, columns]
            found = model.probabilities(part, crf=False, scales=scales, flip=flip)
            weight = _ramp(part.shape[-2], overlap)[:, None] * _ramp(part.shape[-1], overlap)
            weight = weight.to(image)
            total[..., rows, columns] += weight * found
            weights[rows, columns] += weight
    return model.refine(total / weights, image, crf)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin; the last one ends at the edge."""
    last = max(0, side - tile)
    return [*range(0, last, tile - overlap), last]


def _ramp(side: int, overlap: int) -> Tensor:
    """Weights that fall towards the edges over the overlap, and never to zero."""
    place = torch.arange(side) + 1
    return torch.minimum(place, side + 1 - place).clamp(max=overlap + 1) / (overlap + 1)


def _result(
    image: Tensor, probabilities: Tensor, config: Any, form: Form, opacity: float, keep: bool
) -> Segmentation:
    from pyfast.data import overlay_labels, to_label_picture

    labels = probabilities[0].argmax(0).cpu()
    shown = overlay_labels(image, labels[None].clamp(max=255), opacity, config.palette)
    overlay = form.restore(shown.clamp(0, 1))
    if form.batched and form.kind != "pillow":
        overlay = overlay[0]
    of_kind: Any = labels
    if form.kind == "pillow":
        narrow = config.classes <= 256
        of_kind = to_label_picture(labels, config.palette) if narrow else _wide(labels)
    elif form.kind == "array":
        of_kind = labels.numpy().astype(np.uint8 if config.classes <= 256 else np.int64)
    return Segmentation(
        labels=of_kind,
        names=config.labels,
        shares=labels.flatten().bincount(minlength=config.classes) / labels.numel(),
        probabilities=probabilities[0].float().cpu() if keep else None,
        overlay=overlay,
    )


def _wide(labels: Tensor) -> Image.Image:
    return Image.fromarray(labels.numpy().astype(np.int32))
