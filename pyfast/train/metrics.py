"""How near generated samples are to real ones, without a trained network.

Samples are rows of numbers, (N, D): pixels, features, or points of a toy problem. What needs
weights (FID, KID) or labels (accuracy, mean IoU) is in torchmetrics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the binomial kernel of 5 pixels that pyramids are made with.
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
PATCH, PATCHES = 7, 128  # side of a patch, and patches of an image, of Karras et al.


def exact_wasserstein(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-1 distance of two sets of equally many points: the cheapest matching.

    Args:
        a: (N, D).
        b: (N, D). Time grows with the cube of N; some thousands take seconds.

    Returns:
        The mean Euclidean distance of matched points.

    Raises:
        ValueError: the shapes differ, or have no rows.

    Example:
        >>> exact_wasserstein(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
        2.0
    """
    from scipy.optimize import linear_sum_assignment

    _expect_samples("exact_wasserstein", a, b)
    if a.shape != b.shape:
        raise ValueError(
            f"exact_wasserstein: expected b of shape {tuple(a.shape)}, got {tuple(b.shape)}"
        )
    costs = torch.cdist(a.double(), b.double()).cpu()
    rows, columns = linear_sum_assignment(costs.numpy())
    return costs[rows, columns].mean().item()


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 512, seed: int = 0) -> float:
    """The Wasserstein-1 distance of two sets of points along a line, mean over random lines.

    Args:
        a: (N, D).
        b: (M, D); with another N, quantiles are interpolated.
        directions: how many lines, default: 512.
        seed: of the lines, default: 0.

    Raises:
        ValueError: not (N, D) and (M, D).

    Reference: Rabin, Peyre, Delon, Bernot: Wasserstein Barycenter and Its Application to Texture
        Mixing, 2011.
    """
    _expect_samples("sliced_wasserstein", a, b)
    generator = torch.Generator().manual_seed(seed)
    lines = torch.randn(a.shape[1], directions, generator=generator).to(a)
    lines = lines / lines.norm(dim=0)
    first, second = ((points.to(a) @ lines).sort(dim=0).values for points in (a, b))
    count = max(len(a), len(b))
    return (_quantiles(first, count) - _quantiles(second, count)).abs().mean().item()


def pyramid_distances(a: Tensor, b: Tensor, smallest: int = 16, seed: int = 0) -> list[float]:
    """Sliced Wasserstein distances of patches of images, one for each scale, the finest first.

    Images become Laplacian pyramids; of each level 128 patches of 7 x 7 pixels an image are drawn,
    and each channel is brought to mean 0 and spread 1.

    Args:
        a: (N, C, H, W).
        b: (M, C, H, W), of the same size.
        smallest: sides at which the pyramid ends, default: 16, as published.
        seed: of patches and lines, default: 0.

    Returns:
        The distances times 1000, as they are usually printed.

    Raises:
        ValueError: the images do not fit together or are smaller than a patch.

    Reference: Karras, Aila, Laine, Lehtinen: Progressive Growing of GANs, 2018, section 5.
    """
    if a.dim() != 4 or a.shape[1:] != b.shape[1:] or min(a.shape[-2:]) < PATCH:
        raise ValueError(
            "pyramid_distances: expected images (N, C, H, W) and (M, C, H, W) of at least "
            f"{PATCH} x {PATCH}, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    levels = zip(_pyramid(a.float(), smallest), _pyramid(b.float(), smallest), strict=True)
    generator = torch.Generator().manual_seed(seed)
    return [
        1000 * sliced_wasserstein(_patches(x, generator), _patches(y, generator), seed=seed)
        for x, y in levels
    ]


def precision_recall_coverage(real: Tensor, generated: Tensor, k: int = 5) -> dict[str, float]:
    """How much of what is generated is real, and how much of what is real is generated.

    Args:
        real: (N, D).
        generated: (M, D).
        k: neighbours that a sample's ball reaches to, default: 5.

    Returns:
        precision: the part of generated samples within the ball of a real one; recall: of real ones
        within the ball of a generated one; coverage: of real ones whose ball has a generated one.

    Raises:
        ValueError: not (N, D) and (M, D) with more than k rows each.

    Reference: Kynkaanniemi et al.: Improved Precision and Recall Metric, 2019; coverage: Naeem et
        al.: Reliable Fidelity and Diversity Metrics, 2020.
    """
    _expect_samples("precision_recall_coverage", real, generated)
    if not 1 <= k < min(len(real), len(generated)):
        raise ValueError(
            f"precision_recall_coverage: expected k from 1 to less than the number of samples, "
            f"{len(real)} and {len(generated)}, got {k}"
        )
    between = torch.cdist(real, generated.to(real))
    # The nearest neighbour of each is itself.
    radius = torch.cdist(real, real).kthvalue(k + 1, dim=1).values
    generated_radius = torch.cdist(generated, generated).kthvalue(k + 1, dim=1).values.to(real)
    return {
        "precision": (between <= radius[:, None]).any(0).float().mean().item(),
        "recall": (between <= generated_radius).any(1).float().mean().item(),
        "coverage": (between <= radius[:, None]).any(1).float().mean().item(),
    }


def nearest_distance(samples: Tensor) -> float:
    """How different samples are: the mean distance from one to the most similar other.

    It is near 0 where a generator repeats itself, even if it does so in several places, between
    which the mean distance of all pairs stays large. It falls with the number of samples: compare
    sets of one size.

    Args:
        samples: (N, D).

    Raises:
        ValueError: not (N, D) with at least two rows.

    Reference: Arora, Zhang: Do GANs Actually Learn the Distribution?, 2017, section 3, where twins
        in a batch bound the number of different samples.
    """
    if samples.dim() != 2 or len(samples) < 2:
        raise ValueError(
            f"nearest_distance: expected samples (N, D), two or more, got {tuple(samples.shape)}"
        )
    distances = torch.cdist(samples.float(), samples.float()).fill_diagonal_(float("inf"))
    return distances.amin(1).mean().item()


def mode_coverage(samples: Tensor, modes: Tensor, radius: float) -> dict[str, float]:
    """Which modes of a toy problem are found.

    Args:
        samples: (N, D).
        modes: their centres, (K, D).
        radius: how far a sample may lie from a centre.

    Returns:
        covered: the number of modes with a sample within the radius; purity: the part of samples
        within the radius of a mode.

    Raises:
        ValueError: not (N, D) and (K, D).
    """
    _expect_samples("mode_coverage", samples, modes)
    near = torch.cdist(samples, modes.to(samples)) <= radius
    return {"covered": float(near.any(0).sum()), "purity": near.any(1).float().mean().item()}


def _expect_samples(op: str, a: Tensor, b: Tensor) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(
            f"{op}: expected samples (N, D) and (M, D), got {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _quantiles(ordered: Tensor, count: int) -> Tensor:
    """Sorted columns (N, K) at `count` evenly spread places, (count, K)."""
    if len(ordered) == count:
        return ordered
    return F.interpolate(ordered.T[None], count, mode="linear", align_corners=False)[0].T


def _pyramid(images: Tensor, smallest: int) -> list[Tensor]:
    """Details of each scale and the rest."""
    levels = []
    while min(images.shape[-2:]) >= 2 * smallest:
        coarse = _blurred(images)[..., ::2, ::2]
        fine = F.interpolate(coarse, images.shape[-2:], mode="bilinear")
        levels.append(images - fine)
        images = coarse
    return [*levels, images]


def _blurred(images: Tensor) -> Tensor:
    channels = images.shape[1]
    line = images.new_tensor(BINOMIAL) / sum(BINOMIAL)
    kernel = (line[:, None] * line).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, [2] * 4, mode="reflect"), kernel, groups=channels)


def _patches(images: Tensor, generator: torch.Generator) -> Tensor:
    """(N * PATCHES, C * PATCH * PATCH), each channel normalised over all patches."""
    count, _, height, width = images.shape
    windows = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    which = torch.arange(count).repeat_interleave(PATCHES)
    y = torch.randint(height - PATCH + 1, which.shape, generator=generator)
    x = torch.randint(width - PATCH + 1, which.shape, generator=generator)
    patches = windows[which, :, y, x]
    spread, mean = torch.std_mean(patches, dim=(0, 2, 3), keepdim=True)
    return ((patches - mean) / spread.clamp(min=1e-8)).flatten(1)
