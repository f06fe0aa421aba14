"""What the kernels of the dense CRF are tried on, and the same in plain torch in float64."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

from pyfast.ops._dense_crf_reference import (
    bilateral_features_reference,
    exact_filter_reference,
    lattice_filter_reference,
    normalized,
    spatial_features_reference,
)

SCHEDULES = ["forward", "reverse", "random"]
NORMALIZATIONS = ["none", "before", "after", "symmetric"]


def standard_normal(*shape: int, dtype: type = np.float64, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def points(images: int, dims: int, count: int, dtype: type, seed: int = 2) -> np.ndarray:
    """In clusters, so that some vertices serve many."""
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((images, dims, 5))
    chosen = centres[:, :, random.integers(0, 5, count)]
    return (chosen + random.standard_normal((images, dims, count))).astype(dtype)


def energies(images: int, labels: int, size: tuple[int, int], dtype: type) -> np.ndarray:
    return 2 * standard_normal(images, labels, *size, dtype=dtype, seed=3)


def cost_matrix(labels: int) -> np.ndarray:
    half = standard_normal(labels, labels, seed=4)
    return (half + half.T) / np.sqrt(labels)


def colours(images: int, size: tuple[int, int], dtype: type) -> np.ndarray:
    """Images (B, 3, H, W) of a few flat regions with noise, in units of 0 to 255."""
    random = np.random.default_rng(5)
    rows, columns = np.indices(size)
    region = (rows * 2 // size[0]) * 2 + columns * 2 // size[1]
    palette = random.uniform(0, 255, (images, 3, 4))
    return (palette[:, :, region] + 9 * random.standard_normal((images, 3, *size))).astype(dtype)


def photo(size: tuple[int, int]) -> np.ndarray:
    """A shaded ball before a textured wall, 8 bits a channel."""
    rows, columns = np.indices(size) / np.array(size)[:, None, None]
    ball = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.1
    wall = 120 + 40 * np.sin(40 * columns) * np.sin(30 * rows)
    channels = [np.where(ball, level * (0.4 + rows), wall) for level in (230, 90, 60)]
    return np.round(np.stack(channels)[None].clip(0, 255)).astype(np.float32)


@dataclass
class Bilateral:
    """A kernel through a lattice."""

    image: np.ndarray
    closed: bool
    normalization: int
    cost: np.ndarray
    sigmas: tuple[float, float] = (5.0, 20.0)

    def features(self) -> np.ndarray:
        found = bilateral_features_reference(torch.tensor(self.image), *self.sigmas)
        return np.ascontiguousarray(found.numpy())

    def given(self, kernels: ModuleType, real: type) -> object:
        lattice = kernels.build(self.features(), self.closed)
        return kernel_of(kernels, real)(
            lattice, 0.0, 0.0, 1.0, self.normalization, self.cost.astype(real)
        )

    def filter(self, values: torch.Tensor) -> torch.Tensor:
        features = torch.tensor(self.features()).double()
        if self.image.dtype == np.float32:  # on the borders of simplices rounding decides
            features = torch.tensor(self.features())
            return lattice_filter_reference(features, values.float(), closed=self.closed).double()
        return lattice_filter_reference(features, values, closed=self.closed)


@dataclass
class Grid:
    """A Gaussian on the pixel grid."""

    sigma_x: float
    sigma_y: float
    scale: float
    normalization: int
    cost: np.ndarray
    size: tuple[int, int] = (0, 0)

    def given(self, kernels: ModuleType, real: type) -> object:
        return kernel_of(kernels, real)(
            None, self.sigma_x, self.sigma_y, self.scale, self.normalization, self.cost.astype(real)
        )

    def filter(self, values: torch.Tensor) -> torch.Tensor:
        features = spatial_features_reference(self.size, 1.0)
        features = features / torch.tensor([[self.sigma_x], [self.sigma_y]], dtype=torch.float64)
        return self.scale * exact_filter_reference(features.expand(len(values), -1, -1), values)


def kernel_of(kernels: ModuleType, real: type) -> type:
    found: type = kernels.KernelFloat32 if real is np.float32 else kernels.KernelFloat64
    return found


def mean_field_by_torch(
    unary: np.ndarray, pairwise: list[Bilateral | Grid], iterations: int
) -> list[torch.Tensor]:
    """Q before every iteration and after the last."""
    energy = torch.tensor(unary).double().flatten(2)
    results = [torch.softmax(-energy, 1)]
    filters = []
    for kernel in pairwise:
        if isinstance(kernel, Grid):
            kernel.size = (unary.shape[2], unary.shape[3])
        filters.append(normalized(kernel.filter, energy, NORMALIZATIONS[kernel.normalization]))
    for _ in range(iterations):
        total = energy.clone()
        for kernel, filter in zip(pairwise, filters, strict=True):
            total += torch.tensor(kernel.cost) @ filter(results[-1])
        results.append(torch.softmax(-total, 1))
    return [q.view(unary.shape) for q in results]
