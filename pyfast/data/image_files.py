"""Tensors as pictures and image files."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from pyfast._files import atomic_write

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as Pillow's "L"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels


def to_picture(image: Tensor) -> Image.Image:
    """`image`, (3, H, W) or (1, H, W), uint8 or float in [0, 1] (clamped), as a Pillow picture."""
    if image.is_floating_point():
        image = image.clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(image.detach().cpu().permute(1, 2, 0).squeeze(2).numpy())


def write_image(path: Path, image: Tensor) -> None:
    """Writes `image`, as in `to_picture`, to a file; its name says the format."""
    to_picture(image).save(path)


def as_rgb(pixels: Tensor) -> Tensor:
    """Pictures in red, green, blue, (B, 3, H, W).

    Args:
        pixels: grey, RGB or RGBA in [0, 1], (B, 1 or 3 or 4, H, W). Alpha is multiplied in.
    """
    return _without_alpha(pixels).expand(-1, 3, -1, -1)


def _without_alpha(pixels: Tensor) -> Tensor:
    return pixels[:, :3] * pixels[:, 3:] if pixels.shape[1] == 4 else pixels


def squared(pixels: Tensor, channels: int, size: int) -> Tensor:
    """Pictures as a classifier takes them, (B, channels, size, size).

    Alpha is multiplied in, colours become grey where `channels` is 1, the shorter side is padded by
    the picture's own edge, and the square is resized.

    Args:
        pixels: grey, RGB or RGBA in [0, 1], (B, 1 or 3 or 4, H, W).
        channels: 1 or 3.
        size: side of the result in pixels.
    """
    pixels = _without_alpha(pixels)
    if channels == 1 and pixels.shape[1] == 3:
        pixels = (pixels * pixels.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    height, width = pixels.shape[-2:]
    missing = max(height, width) - torch.tensor([width, width, height, height])
    sides = [int(n) for n in (missing + torch.tensor([0, 1, 0, 1])) // 2]
    square = F.pad(pixels.expand(-1, channels, -1, -1), sides, mode="replicate")
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True)


def read_image(path: Path) -> Image.Image:
    """The picture in a file, upright as the camera held it.

    Warns:
        UserWarning: the file has colours of 16 bits, of which Pillow reads 8.

    Raises:
        ValueError: the file holds no picture that Pillow reads.
        FileNotFoundError: there is no such file.
    """
    try:
        with Image.open(path) as picture:
            if _loses_bits(picture):
                warnings.warn(
                    f"{path}: has colours of 16 bits, of which Pillow reads 8; for all of them "
                    "read it with OpenCV (IMREAD_UNCHANGED) and pass the array",
                    stacklevel=2,
                )
            return ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: expected a picture, got a file that Pillow refuses: {error}"
        ) from error


def _loses_bits(picture: Image.Image) -> bool:
    """Whether the file has more bits for a colour than Pillow takes."""
    tiles = getattr(picture, "tile", ())  # of pictures that come from a file
    return len(picture.getbands()) > 1 and any(";16" in str(tile.args) for tile in tiles)


def write_png(path: Path, image: Tensor, bits: int = 8) -> None:
    """Writes a PNG file, whole or not at all.

    Args:
        path: of the file.
        image: (C, H, W), floats in [0, 1] (clamped): grey, grey and alpha, RGB or RGBA. Alpha is
            straight: colours are not multiplied by it.
        bits: 8 or 16 for each value. Pillow writes no colours of 16 bits, so this is done here.

    Reference: ISO/IEC 15948, Portable Network Graphics.
    """
    if bits not in (8, 16) or image.dim() != 3 or image.shape[0] not in _COLOUR_TYPE:
        raise ValueError(
            "write_png: expected an image (1 to 4, H, W) and bits 8 or 16, got "
            f"{tuple(image.shape)} and {bits}"
        )
    channels, height, width = image.shape
    largest = 2**bits - 1
    values = image.detach().to("cpu", torch.float64).clamp(0, 1).mul(largest).round()
    pixels = values.permute(1, 2, 0).numpy().astype(f">u{bits // 8}")
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    # Filter 2 of each row: less the row above, which compresses far better.
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0)
    with atomic_write(path) as part:
        part.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", header)
            + _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
            + _chunk(b"IEND", b"")
        )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
