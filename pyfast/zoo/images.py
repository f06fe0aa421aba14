"""What every network of the zoo asks of the images that it is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def expect_images(
    network: object, images: Any, channels: int, size: int | None = None, smallest: int = 1
) -> None:
    """Raises, in the name of the network's class, unless it can take these images.

    Args:
        network: who is asked.
        images: to be (B, channels, H, W), of floats.
        channels: how many it takes.
        size: height and width, where there is only one.
        smallest: height and width that there have to be at least.

    Raises:
        TypeError: no tensor, or not of floats.
        ValueError: another shape, or too small.
    """
    name = type(network).__name__
    if not isinstance(images, Tensor):
        raise TypeError(f"{name}: expected images as a torch.Tensor, got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"{name}: expected images of floats, got {images.dtype}")
    sides = "H, W" if size is None else f"{size}, {size}"
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != channels or (size and shape[2:] != (size, size)):
        raise ValueError(f"{name}: expected images (B, {channels}, {sides}), got {shape}")
    if min(shape[2:]) < smallest:
        raise ValueError(
            f"{name}: expected images of at least {smallest} x {smallest}, got {shape}"
        )
