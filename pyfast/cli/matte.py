"""`pyfast matte`: how opaque the subject of a picture is, pixel by pixel."""

from typing import Any

from torch import Tensor

from pyfast.cli import _matting as shared


def matte(
    image: shared.Image,
    output: shared.Output,
    trimap: shared.Trimap = None,
    scribbles: shared.Scribbles = None,
    bits: shared.Bits = 16,
    epsilon: shared.Epsilon = 1e-7,
    radius: shared.Radius = 1,
) -> None:
    """Write the alpha matte of a picture as a grey PNG file."""
    found = shared.jobs(image, output, trimap, scribbles)
    drawn = scribbles is not None
    shared.run(found, drawn, bits, _render, epsilon=epsilon, radius=radius)


def _render(image: Any, trimap: Any, **options: Any) -> Tensor:
    from pyfast.ops import estimate_alpha
    from pyfast.ops._pictures import read_picture, read_plane

    pixels, _ = read_picture("matte", "image", image)
    planes, _ = read_plane("matte", "trimap", trimap, pixels)
    alpha: Tensor = estimate_alpha(pixels[:, :3], planes, **options)
    return alpha
