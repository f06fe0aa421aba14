"""`pyfast matte`: how opaque the subject of a picture is, pixel by pixel."""

from typing import Any

from torch import Tensor

from pyfast.cli import _matting as shared


def _render(image: Tensor, trimap: Tensor, **options: Any) -> Tensor:
    from pyfast.ops import estimate_alpha

    alpha: Tensor = estimate_alpha(image, trimap, **options)
    return alpha


matte = shared.command(
    "matte", _render, 16, "Write the alpha matte of a picture as a grey PNG file."
)
