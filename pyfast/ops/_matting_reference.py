"""What the matting Laplacian means: matrix, forms and systems in plain torch, in any precision.

Images are (B, D, H, W), vectors (B, C, H, W). Windows of n = (2 radius + 1)² pixels lie inside the
image. A window with mean colour mu, c_i = I_i - mu and covariance S = sum c_i c_iᵀ / n +
epsilon/n Id = R Rᵀ adds delta_ij - (1 + z_i·z_j)/n to entry ij, with z_i = R⁻¹ c_i.

Reference: Levin, Lischinski, Weiss 2008, A Closed-Form Solution to Natural Image Matting, IEEE
TPAMI 30 (2), equation 12.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _windows(planes: Tensor, side: int) -> Tensor:
    """(B, K, H, W) -> (B, windows, n, K)"""
    batch, count = planes.shape[:2]
    patches = F.unfold(planes, side)
    return patches.view(batch, count, side * side, patches.shape[-1]).permute(0, 3, 2, 1)


def _whitened(image: Tensor, epsilon: float, side: int) -> Tensor:
    """z of every pixel in every window: (B, windows, n, D)"""
    colours = _windows(image, side)
    centred = colours - colours.mean(2, keepdim=True)
    eye = torch.eye(image.shape[1], dtype=image.dtype, device=image.device)
    covariance = (centred.mT @ centred + epsilon * eye) / side**2
    factor = torch.linalg.cholesky(covariance)
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT


def matting_laplacian_reference(
    image: Tensor, epsilon: float = 1e-7, radius: int = 1, known: Tensor | None = None
) -> Tensor:
    """The matrix, dense: (D, H, W) -> (H W, H W).

    `known` (H, W): windows whose pixels all are known are left out.
    """
    height, width = image.shape[-2:]
    side = 2 * radius + 1
    z = _whitened(image[None], epsilon, side)[0]
    n = side**2
    eye = torch.eye(n, dtype=image.dtype, device=image.device)
    blocks = eye - (1 + z @ z.mT) / n
    index = torch.arange(height * width, dtype=image.dtype, device=image.device)
    pixels = _windows(index.view(1, 1, height, width), side)[0, :, :, 0].long()
    if known is not None:
        kept = ~known.flatten()[pixels].bool().all(1)
        blocks, pixels = blocks[kept], pixels[kept]
    rows = pixels[:, :, None].expand_as(blocks)
    columns = pixels[:, None, :].expand_as(blocks)
    matrix = image.new_zeros(height * width, height * width)
    return matrix.index_put((rows, columns), blocks, accumulate=True)


def matting_form_reference(
    u: Tensor, v: Tensor, image: Tensor, epsilon: float = 1e-7, radius: int = 1
) -> Tensor:
    """uᵀ L v of each vector: (B, C, H, W) twice, (B, D, H, W) -> (B, C)"""
    side = 2 * radius + 1
    z = _whitened(image, epsilon, side)

    def fit(vector: Tensor) -> tuple[Tensor, Tensor]:
        values = _windows(vector, side)
        centred = values - values.mean(2, keepdim=True)
        return centred, z.mT @ centred

    (centred_u, slope_u), (centred_v, slope_v) = fit(u), fit(v)
    fitted = (slope_u * slope_v).sum((1, 2)) / side**2
    return (centred_u * centred_v).sum((1, 2)) - fitted


def matting_energy_reference(
    v: Tensor, image: Tensor, epsilon: float = 1e-7, radius: int = 1
) -> Tensor:
    """The definition of `matting_energy`: (C, H, W), (D, H, W) -> 0-dim, batched -> (B,)"""
    if v.dim() == 3:
        return matting_energy_reference(v[None], image[None], epsilon, radius)[0]
    return matting_form_reference(v, v, image, epsilon, radius).sum(1)


def matting_product_reference(
    v: Tensor, image: Tensor, epsilon: float = 1e-7, radius: int = 1
) -> Tensor:
    """L v: (B, C, H, W), (B, D, H, W) -> (B, C, H, W)"""
    side = 2 * radius + 1
    z = _whitened(image, epsilon, side)
    values = _windows(v, side)
    centred = values - values.mean(2, keepdim=True)
    rest = centred - z @ (z.mT @ centred) / side**2
    batch, count = v.shape[:2]
    patches = rest.permute(0, 3, 2, 1).reshape(batch, count * side**2, rest.shape[1])
    return F.fold(patches, v.shape[-2:], side)


def matting_solve_reference(
    rhs: Tensor,
    image: Tensor,
    diagonal: Tensor,
    known: Tensor,
    x: Tensor,
    epsilon: float = 1e-7,
    radius: int = 1,
) -> Tensor:
    """(L + diag(diagonal)) x = rhs in unknown pixels, x held in known ones, by a dense solve.

    rhs, x: (B, C, H, W); diagonal, known: (B, H, W).
    """
    solutions = []
    for b in range(image.shape[0]):
        matrix = matting_laplacian_reference(image[b], epsilon, radius)
        matrix = matrix + torch.diag(diagonal[b].flatten())
        held = known[b].flatten().bool()
        start = torch.where(held, x[b].flatten(1), 0).mT
        right = torch.where(held[:, None], start, rhs[b].flatten(1).mT - matrix @ start)
        both = held[:, None] | held[None, :]
        eye = torch.eye(len(held), dtype=image.dtype, device=image.device)
        solved = torch.linalg.solve(torch.where(both, eye, matrix), right)
        solutions.append(solved.mT.view_as(x[b]))
    return torch.stack(solutions)
