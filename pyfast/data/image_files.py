"""Tensors as pictures and image files."""

from pathlib import Path

from PIL import Image
from torch import Tensor


def to_picture(image: Tensor) -> Image.Image:
    """`image`, (3, H, W) or (1, H, W), uint8 or float in [0, 1] (clamped), as a Pillow picture."""
    if image.is_floating_point():
        image = image.clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(image.detach().cpu().permute(1, 2, 0).squeeze(2).numpy())


def write_image(path: Path, image: Tensor) -> None:
    """Writes `image`, as in `to_picture`, to a file; its name says the format."""
    to_picture(image).save(path)
