"""`pyfast cutout`: the subject of a picture on a transparent ground."""

from typing import Any

from torch import Tensor

from pyfast.cli import _matting as shared


def _render(image: Tensor, trimap: Tensor, **options: Any) -> Tensor:
    from pyfast.ops import cutout

    rgba: Tensor = cutout(image, trimap, **options)
    return rgba[0]


cutout = shared.command(
    "cutout", _render, 8, "Write the subject of a picture as a PNG file with straight alpha."
)
