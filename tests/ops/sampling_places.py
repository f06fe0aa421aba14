"""Places to sample at that stay away from the kinks.

Nearest jumps half-way between two pixels and the gradient of bilinear at each of them. Positions in
pixels are therefore drawn with a fraction between .1 and .4 or between .6 and .9; where that cannot
be, as under a projective map, the best of many draws is taken. Sizes are (D,) H, W and vectors
x, y(, z), as everywhere.
"""

import torch
from torch import Tensor

from pyfast.ops._sampling_reference import homography_grid_reference


def to_normalised(pixels, length, align_corners):
    if align_corners:
        return 2 * pixels / max(length - 1, 1) - 1
    return (2 * pixels + 1) / length - 1


def random_positions(batch, in_size, out_size):
    """In pixels, in and around the image: (N, *out_size) for each axis, x first."""

    def axis(length):
        whole = torch.randint(-2, length + 2, (batch, *out_size)).double()
        fraction = torch.rand(batch, *out_size, dtype=torch.float64) * 0.3
        return whole + fraction + torch.where(torch.rand(batch, *out_size) < 0.5, 0.1, 0.6)

    return [axis(length) for length in reversed(in_size)]


def random_grid(batch, in_size, out_size, align_corners):
    positions = zip(random_positions(batch, in_size, out_size), reversed(in_size), strict=True)
    return torch.stack([to_normalised(x, length, align_corners) for x, length in positions], -1)


def random_flow(batch, in_size, out_size):
    pixels = torch.meshgrid(*[torch.arange(n).double() for n in out_size], indexing="ij")
    positions = random_positions(batch, in_size, out_size)
    return torch.stack([x - p for x, p in zip(positions, reversed(pixels), strict=True)], 1)


def random_pixel_map(batch, dims):
    """From output to input pixels, with steps of quarter pixels: rotated, mirrored, larger..."""
    steps = torch.randint(-6, 7, (batch, dims, dims)).double() / 4
    corner = torch.randint(-1, 3, (batch, dims)).double() + 0.11
    return torch.cat([steps, corner[..., None]], -1)


def random_theta(batch, in_size, out_size, align_corners):
    """`random_pixel_map` as an affine map of normalised coordinates."""
    map = random_pixel_map(batch, len(in_size))
    out_shift = torch.tensor([length - 1.0 for length in reversed(out_size)]).double()
    out_scale = out_shift if align_corners else out_shift + 1
    rows = []
    for axis, length in enumerate(reversed(in_size)):
        steps, corner = map[:, axis, :-1], map[:, axis, -1]
        middle = (steps * out_shift / 2).sum(1) + corner
        scale = 2 / (max(length - 1, 1) if align_corners else length)
        shift = to_normalised(middle, length, align_corners)
        rows.append(torch.cat([steps * out_scale / 2 * scale, shift[:, None]], 1))
    return torch.stack(rows, dim=1)


def random_homography(batch, in_size, out_size, align_corners):
    """Projective maps near the identity, whose denominators stay away from 0."""
    sizes = torch.tensor(in_size[::-1]).double()
    scale = (sizes - 1).clamp_min(1) if align_corners else sizes

    def one():
        bend = torch.cat([torch.rand(64, 2, 3) - 0.5, 0.5 * torch.rand(64, 1, 3) - 0.25], 1)
        matrices = torch.eye(3).double() + bend.double()
        grids = homography_grid_reference(matrices, out_size, align_corners)
        halves = (grids + 1) * scale - (0 if align_corners else 1)  # position times two
        margins = (halves - halves.round()).abs().flatten(1).amin(1)
        return matrices[margins.argmax()]

    return torch.stack([one() for _ in range(batch)]) if batch else torch.zeros(0, 3, 3).double()


def to_pixel_homography(matrix: Tensor, in_size, out_size) -> Tensor:
    """A map of coordinates in [-1, 1], without align_corners, as one of pixels."""

    def from_pixels(size):
        height, width = size
        return torch.tensor(
            [[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]]
        ).double()

    return torch.linalg.inv(from_pixels(in_size)) @ matrix @ from_pixels(out_size)
