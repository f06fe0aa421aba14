"""`pyfast cutout`: the subject of a picture on a transparent ground."""

from typing import Any

from torch import Tensor

from pyfast.cli import _matting as shared


def cutout(
    image: shared.Image,
    output: shared.Output,
    trimap: shared.Trimap = None,
    scribbles: shared.Scribbles = None,
    bits: shared.Bits = 8,
    epsilon: shared.Epsilon = 1e-7,
    radius: shared.Radius = 1,
) -> None:
    """Write the subject of a picture as a PNG file with straight alpha."""
    found = shared.jobs(image, output, trimap, scribbles)
    drawn = scribbles is not None
    shared.run(found, drawn, bits, _render, epsilon=epsilon, radius=radius)


def _render(image: Any, trimap: Any, **options: Any) -> Tensor:
    from pyfast.ops import cutout
    from pyfast.ops._pictures import read_picture, read_plane

    # As floats, so that files of 16 bits have use for them.
    pixels, _ = read_picture("cutout", "image", image)
    planes, _ = read_plane("cutout", "trimap", trimap, pixels)
    rgba: Tensor = cutout(pixels, planes, **options)
    return rgba[0]
