"""What the benchmarks of the dense CRF work on, and pydensecrf beside ours."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from pyfast.data import photograph


@dataclass(frozen=True)
class Sigmas:
    """Kernels by their sigmas: places and colours of the bilateral one, places of the other."""

    xy: float
    rgb: float
    gaussian: float
    bilateral_weight: float = 4.0
    gaussian_weight: float = 3.0

    def __str__(self) -> str:
        return f"{self.xy:g}/{self.rgb:g}/{self.gaussian:g}"


DEEPLAB = Sigmas(67, 3, 1)  # DeepLab v2 on ResNet-101
WIDE = Sigmas(121, 5, 3)


@dataclass(frozen=True)
class Scene:
    unary: Tensor  # energies, (1, L, H, W)
    image: Tensor  # (1, 3, H, W), uint8

    @property
    def pixels(self) -> int:
        return self.image.shape[2] * self.image.shape[3]

    @property
    def labels(self) -> int:
        return self.unary.shape[1]


def scene(height: int, width: int, labels: int, name: str = "china") -> Scene:
    """A photograph, cut or enlarged, and energies: smooth guesses under independent noise."""
    photo = photograph(name)[None]
    if height > photo.shape[2] or width > photo.shape[3]:
        size = (height, width)
        photo = F.interpolate(photo.float(), size, mode="bicubic", antialias=True)
        photo = photo.clamp(0, 255).round().byte()
    image = photo[..., :height, :width].contiguous()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, labels, 1 + height // 60, 1 + width // 60, generator=generator)
    guess = F.interpolate(coarse, (height, width), mode="bilinear")
    uniform = torch.rand(guess.shape, generator=generator).clamp_(1e-6, 1 - 1e-6)
    noise = -torch.log(-torch.log(uniform))
    return Scene(-torch.log_softmax(2 * guess + noise, 1), image)


def point_cloud(dims: int, points: int) -> Tensor:
    """Features of points in clusters of fifty, (1, dims, points)."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(dims, points // 50, generator=generator)
    return 2 * (centres.repeat(1, 50) + 0.2 * torch.randn(dims, points, generator=generator))[None]


def ours(scene: Scene, sigmas: Sigmas, iterations: int = 10, **options: Any) -> Tensor:
    return pyfast.dense_crf(
        scene.unary,
        scene.image,
        bilateral_sigma_xy=sigmas.xy,
        bilateral_sigma_rgb=sigmas.rgb,
        bilateral_weight=sigmas.bilateral_weight,
        gaussian_sigma=sigmas.gaussian,
        gaussian_weight=sigmas.gaussian_weight,
        iterations=iterations,
        **options,
    )


def peer() -> Any:
    """pydensecrf's module, or None."""
    try:
        import pydensecrf.densecrf
    except ImportError:
        return None
    return pydensecrf.densecrf


class Peer:
    """pydensecrf on a scene; its data are in its own layout before anything is timed."""

    def __init__(self, module: Any, scene: Scene, sigmas: Sigmas) -> None:
        self.module, self.sigmas = module, sigmas
        self.height, self.width = scene.image.shape[2:]
        self.labels = scene.labels
        self.unary = np.ascontiguousarray(scene.unary[0].flatten(1).numpy())
        self.image = np.ascontiguousarray(scene.image[0].permute(1, 2, 0).numpy())

    def build(self, gaussian: bool = True) -> Any:
        crf = self.module.DenseCRF2D(self.width, self.height, self.labels)
        crf.setUnaryEnergy(self.unary)
        s = self.sigmas
        if gaussian:
            crf.addPairwiseGaussian(sxy=s.gaussian, compat=s.gaussian_weight)
        crf.addPairwiseBilateral(sxy=s.xy, srgb=s.rgb, rgbim=self.image, compat=s.bilateral_weight)
        return crf

    def __call__(self, iterations: int = 10) -> np.ndarray:
        return np.array(self.build().inference(iterations))

    def tensors(self, result: np.ndarray) -> tuple[Tensor, ...]:
        return (torch.from_numpy(result).view(1, self.labels, self.height, self.width),)


# --- the floor ------------------------------------------------------------------------------------


def row_bytes(labels: int) -> int:
    """A pixel's or vertex's labels in half precision, in whole groups of eight."""
    return 16 * math.ceil(labels / 8)


def iteration_work(pixels: int, vertices: int, labels: int, dims: int = 5) -> tuple[int, int]:
    """Bytes and operations of one iteration that no implementation on a lattice goes without.

    Splat and slice move every pixel's row and every vertex's once and read d + 1 corners of 8
    bytes; the blur, in one sweep, reads and writes the vertices and reads 2 (d + 1) neighbours of 4
    bytes; the update reads the energies in float32 and moves four rows: message, both Q, spatial
    sums. At 500 x 375 with 21 labels these are 155 MB. Operations are on vectors of 16 floats,
    loads and conversions included: 3 for each corner of splat and slice, 5 for each axis of the
    blur, 40 for update and spatial taps: 46 million there. One takes the multiply-add units as long
    as 32 operations of a matrix product.
    """
    corners, row = dims + 1, row_bytes(labels)
    splat_or_slice = pixels * (row + 8 * corners) + vertices * row
    blur = vertices * (2 * row + 8 * corners)
    update = pixels * (2 * row + 4 * row)
    vectors = math.ceil(labels / 16)
    operations = vectors * (pixels * (2 * 3 * corners + 40) + vertices * 5 * corners)
    return 2 * splat_or_slice + blur + update, 32 * operations


def setup_work(pixels: int, vertices: int, dims: int = 5) -> tuple[int, int]:
    """Bytes and operations of building a lattice.

    Features are read, corners and weights written, keys of 8 bytes sorted in two passes at least,
    the lists of pixels and the neighbours written; some 20 vector operations a feature find the
    simplex.
    """
    corners = dims + 1
    moved = pixels * (4 * dims + 16 * corners) + pixels * corners * 8 * 4
    moved += vertices * (8 + 8 * corners)
    return moved, 32 * (pixels * 20 * corners // 16)


def vertices_of(scene: Scene, sigmas: Sigmas) -> int:
    features = pyfast.bilateral_features(scene.image.float(), sigmas.xy, sigmas.rgb)
    return int(pyfast.GaussianFilter(features).num_vertices)


def total_work(scene: Scene, sigmas: Sigmas, iterations: int = 10) -> tuple[int, int]:
    vertices = vertices_of(scene, sigmas)
    once = setup_work(scene.pixels, vertices)
    each = iteration_work(scene.pixels, vertices, scene.labels)
    return once[0] + iterations * each[0], once[1] + iterations * each[1]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
