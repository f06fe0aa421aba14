"""What systems with spatial transformers promise, each beside the network that has to lose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyfast.nn import SpatialTransformer
from pyfast.zoo.claims import Measured, claim
from pyfast.zoo.spatial import stn_cnn  # noqa: F401  (claims are of a registered model)


@claim(
    "stn_cnn",
    "a new transformer returns its input (largest difference; baseline: a head at random)",
    target=1e-6,
    margin=0.1,
    seconds=1,
    higher=False,
)
def _identity(seed: int) -> Measured:
    image, transformer = _image_and_transformer(seed)
    new = (transformer(image) - image).abs().max().item()
    with torch.no_grad():
        nn.init.normal_(transformer.head.offset, std=0.3)
    return Measured(new, (transformer(image) - image).abs().max().item())


@claim(
    "stn_cnn",
    "the integer sampler of equation 4 is mode nearest (largest difference; baseline: bilinear)",
    target=1e-6,
    margin=0.1,
    seconds=1,
    higher=False,
)
def _integer_sampler(seed: int) -> Measured:
    image, transformer = _image_and_transformer(seed)
    with torch.no_grad():
        nn.init.normal_(transformer.head.offset, std=0.3)
    bilinear, theta = transformer(image, return_theta=True)
    transformer.mode = "nearest"
    wanted = integer_sampler(image, theta)
    differences = [(found - wanted).abs().max().item() for found in (transformer(image), bilinear)]
    return Measured(*differences)


def integer_sampler(image: Tensor, theta: Tensor) -> Tensor:
    """Equation 4: the pixel whose centre is nearest to where theta (N, 2, 3) points, or zero."""
    count, _, height, width = image.shape
    grid = nn.functional.affine_grid(theta, list(image.shape), align_corners=False)
    column = ((grid[..., 0] + 1) * width / 2 - 0.5).round().long()
    row = ((grid[..., 1] + 1) * height / 2 - 0.5).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    number = torch.arange(count)[:, None, None]
    pixels = image[number, :, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return (pixels * inside[..., None]).movedim(-1, 1)


def _image_and_transformer(seed: int) -> tuple[Tensor, SpatialTransformer]:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        localisation = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
        transformer = SpatialTransformer(localisation, in_features=49).eval()
    return torch.rand(8, 1, 28, 28, generator=generator), transformer
