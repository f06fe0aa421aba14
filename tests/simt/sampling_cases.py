"""One call of the sampling kernels, by the run on the host and by plain torch in float64."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F

MODES = ["bilinear", "nearest", "bicubic"]
PADDINGS = ["zeros", "border", "reflection"]
SOURCES = ["grid", "flow", "affine", "homography"]
SCHEDULES = ["forward", "reverse", "random"]
SUMS = {"float64": np.float64, "float32": np.float32, "float16": np.float32, "bfloat16": np.float32}
EPSILON = {"float64": 0.0, "float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def to_memory(array: np.ndarray, dtype: str) -> np.ndarray:
    """Rounded to a dtype; bfloat16, which NumPy lacks, as its bits."""
    if dtype == "bfloat16":
        return torch.tensor(array).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    return array.astype(dtype)


def from_memory(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint16:
        bits = torch.tensor(np.ascontiguousarray(array).view(np.int16))
        return bits.view(torch.bfloat16).double().numpy()
    return array.astype(np.float64)


# --- layouts of (N, C, D, H, W) ---------------------------------------------------------------


def contiguous(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C")


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.array(np.moveaxis(array, 1, -1), order="C"), -1, 1)


def strided(array: np.ndarray) -> np.ndarray:
    n, c, d, h, w = array.shape
    gap = 0x7FFF if array.dtype == np.uint16 else np.nan  # a NaN both times
    larger = np.full((n, c + 1, d + 2, 2 * h + 1, w + 3), gap, array.dtype)
    result = larger[:, 1:, 1 : 1 + d, 1::2, 2 : 2 + w]
    result[...] = array
    return result


def reversed_axes(array: np.ndarray) -> np.ndarray:
    backwards = (slice(None), *[slice(None, None, -1)] * 4)
    return np.array(array[backwards], order="C")[backwards]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": contiguous,
    "channels_last": channels_last,
    "strided": strided,
    "reversed": reversed_axes,
}


def as_volume(array: np.ndarray) -> np.ndarray:
    """(N, C, [D,] H, W) with a D of 1 where there was none."""
    return array if array.ndim == 5 else array[:, :, None]


# --- where to sample ----------------------------------------------------------------------------


def base_axis(size: int, align_corners: bool) -> torch.Tensor:
    if align_corners:
        return (
            torch.linspace(-1, 1, size, dtype=torch.float64)
            if size > 1
            else torch.zeros(1).double()
        )
    return (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1


def base_points(axes: list[torch.Tensor]) -> torch.Tensor:
    """(D, H, W, 3) or (H, W, 2) from an axis of z, y, x, or of y, x: x first."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def normalised(position: torch.Tensor, size: tuple[int, ...], align_corners: bool) -> torch.Tensor:
    """From pixels to the coordinates of grid_sample; size: of the image, (D,) H, W."""
    sizes = torch.tensor(size[::-1], dtype=torch.float64)
    if align_corners:
        return 2 * position / (sizes - 1) - 1
    return (2 * position + 1) / sizes - 1


@dataclass
class Results:
    output: np.ndarray
    grad_input: np.ndarray
    grad_where: np.ndarray


@dataclass
class Case:
    """A call: what it works on, and options."""

    input: np.ndarray = field(repr=False)  # (N or 1, C, (D,) H, W), float64
    # Grid (N, (D,) H, W, dims), flow (N, dims, (D,) H, W), or matrices.
    where: np.ndarray = field(repr=False)
    size: tuple[int, ...]  # of the output, (D,) H, W
    source: str = "grid"
    mode: str = "bilinear"
    padding: str = "zeros"
    align_corners: bool = False
    pixels: bool = False
    layout: str = "contiguous"
    dtype: str = "float64"
    grad_output: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if not self.grad_output.size:
            shape = (len(self.where), self.input.shape[1], *self.size)
            self.grad_output = np.random.default_rng(5).standard_normal(shape)
        self.input = from_memory(to_memory(self.input, self.dtype))
        self.grad_output = from_memory(to_memory(self.grad_output, self.dtype))
        self.where = self.where.astype(SUMS[self.dtype]).astype(np.float64)

    @property
    def dims(self) -> int:
        return len(self.size)

    def grid(self, where: torch.Tensor) -> torch.Tensor:
        """What grid_sample takes."""
        in_size = self.input.shape[2:]
        if self.source == "grid":
            return normalised(where, in_size, self.align_corners) if self.pixels else where
        indices = [torch.arange(n, dtype=torch.float64) for n in self.size]
        if self.source == "flow":
            position = base_points(indices) + where.movedim(1, -1)
            return normalised(position, in_size, self.align_corners)
        axes = [base_axis(n, self.align_corners) for n in self.size]
        base = base_points(indices if self.pixels else axes)
        matrix = where.reshape(len(where), *[1] * self.dims, *where.shape[1:])
        products = (matrix[..., :-1] * base[..., None, :]).sum(-1) + matrix[..., -1]
        if self.source == "homography":
            products = products[..., :-1] / products[..., -1:]
        return normalised(products, in_size, self.align_corners) if self.pixels else products

    def by_torch(self) -> Results:
        input = torch.tensor(self.input, requires_grad=True)
        where = torch.tensor(self.where, requires_grad=True)
        output = F.grid_sample(
            input.expand(len(where), *[-1] * (self.dims + 1)),
            self.grid(where),
            self.mode,
            self.padding,
            self.align_corners,
        )
        grads = torch.autograd.grad(output, [input, where], torch.tensor(self.grad_output))
        return Results(output.detach().numpy(), *(g.numpy() for g in grads))

    # --- by the kernels -------------------------------------------------------------------------

    def options(self, kernels: ModuleType, *, deterministic: bool = False) -> object:
        return kernels.Options(
            dims=self.dims,
            source=SOURCES.index(self.source),
            mode=MODES.index(self.mode),
            padding=PADDINGS.index(self.padding),
            align_corners=self.align_corners,
            pixels=self.pixels,
            deterministic=deterministic,
        )

    def place(self, array: np.ndarray) -> np.ndarray:
        return LAYOUTS[self.layout](as_volume(array))

    def place_where(self, array: np.ndarray) -> np.ndarray:
        """Matrices as they are, fields as (N, D, H, W, dims) in the memory of their layout."""
        if self.source in ("affine", "homography"):
            return contiguous(array)
        if self.source == "grid":
            array = np.moveaxis(array, -1, 1)
        whole = self.layout == "contiguous" and self.source == "grid"
        return np.moveaxis(
            (channels_last if whole else LAYOUTS[self.layout])(as_volume(array)), 1, -1
        )

    def take_where(self, array: np.ndarray) -> np.ndarray:
        """From the memory of the kernels to the shape of `where`."""
        if self.source == "flow":
            array = np.moveaxis(array, -1, 1)
        return array.reshape(self.where.shape)

    def forward(self, kernels: ModuleType) -> np.ndarray:
        output = self.place(to_memory(np.full_like(self.grad_output, np.nan), self.dtype))
        error = kernels.forward(
            self.place(to_memory(self.input, self.dtype)),
            self.place_where(self.where.astype(SUMS[self.dtype])),
            self.options(kernels),
            output,
        )
        assert error == 0
        return from_memory(output).reshape(self.grad_output.shape)

    def backward(
        self,
        kernels: ModuleType,
        *,
        of_input: bool = True,
        of_where: bool = True,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        real = SUMS[self.dtype]
        grad_input = self.place(np.full(self.input.shape, np.nan, real))
        grad_where = self.place_where(np.full(self.where.shape, np.nan, real))
        error = kernels.backward(
            self.place(to_memory(self.grad_output, self.dtype)),
            self.place(to_memory(self.input, self.dtype)),
            self.place_where(self.where.astype(real)),
            self.options(kernels, deterministic=deterministic),
            grad_input if of_input else None,
            grad_where if of_where else None,
        )
        assert error == 0
        return grad_input.reshape(self.input.shape), self.take_where(grad_where)

    def by_kernels(self, kernels: ModuleType, *, deterministic: bool = False) -> Results:
        gradients = self.backward(kernels, deterministic=deterministic)
        return Results(self.forward(kernels), *gradients)

    def check(self, kernels: ModuleType, *, expected: Results | None = None) -> None:
        """Everything against torch, and the deterministic gradient of the input."""
        expected = expected or self.by_torch()
        found = self.by_kernels(kernels)
        tolerance = 1e-10 if self.dtype == "float64" else 2e-4
        rounding = 2 * EPSILON[self.dtype] * np.abs(self.input).max(initial=0)
        self.compare("output", found.output, expected.output, tolerance, rounding)
        self.compare("grad_where", found.grad_where, expected.grad_where, tolerance)
        self.compare("grad_input", found.grad_input, expected.grad_input, tolerance)
        again, _ = self.backward(kernels, of_where=False, deterministic=True)
        self.compare("deterministic grad_input", again, expected.grad_input, tolerance)

    def compare(
        self, name: str, have: np.ndarray, want: np.ndarray, tolerance: float, rounding: float = 0
    ) -> None:
        scale = max(1.0, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(
            have, want, rtol=0, atol=tolerance * scale + rounding, err_msg=f"{name} of {self}"
        )


def modes(dims: int) -> list[str]:
    return MODES if dims == 2 else MODES[:2]


# --- what cases are made of ---------------------------------------------------------------------


def image(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def thetas(count: int, dims: int = 2, *, scale: float = 1.0, seed: int = 2) -> np.ndarray:
    """Rotations, scalings, shears and shifts, some far enough to leave the image."""
    random = np.random.default_rng(seed)
    linear = scale * (np.eye(dims) + 0.6 * random.standard_normal((count, dims, dims)))
    return np.concatenate([linear, 0.7 * random.standard_normal((count, dims, 1))], 2)


def homographies(count: int, *, scale: float = 1.0, seed: int = 2) -> np.ndarray:
    last = np.random.default_rng(seed + 1).uniform(-0.25, 0.25, (count, 1, 3)) + [0, 0, 1]
    return np.concatenate([thetas(count, scale=scale, seed=seed), last], 1)


def in_pixels(
    matrices: np.ndarray, in_size: tuple[int, ...], out_size: tuple[int, ...], align: bool
) -> np.ndarray:
    """The same maps between pixels."""
    dims = len(in_size)

    def to_normalised(size: tuple[int, ...]) -> np.ndarray:
        result = np.eye(dims + 1)
        for a, n in enumerate(size[::-1]):
            step = 2 / (n - 1) if align else 2 / n
            result[a, a], result[a, -1] = step, -1 if align else 1 / n - 1
        return result

    last = np.broadcast_to(np.eye(dims + 1)[dims:], (len(matrices), 1, dims + 1))
    full = matrices if matrices.shape[1] > dims else np.concatenate([matrices, last], 1)
    full = np.linalg.inv(to_normalised(in_size)) @ full @ to_normalised(out_size)
    return full[:, : matrices.shape[1]]


def grids(count: int, *size: int, seed: int = 3) -> np.ndarray:
    return 1.3 * np.random.default_rng(seed).standard_normal((count, *size, len(size)))


def flows(count: int, *size: int, seed: int = 4) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal((count, len(size), *size))


def somewhere(
    source: str,
    count: int,
    in_size: tuple[int, ...],
    out_size: tuple[int, ...],
    *,
    align: bool = False,
    pixels: bool = False,
    scale: float = 1.0,
) -> np.ndarray:
    """Where to sample, by any source."""
    if source == "grid":
        return grids(count, *out_size)
    if source == "flow":
        return flows(count, *out_size)
    dims = len(in_size)
    if source == "affine":
        matrices = thetas(count, dims, scale=scale)
    else:
        matrices = homographies(count, scale=scale)
    return in_pixels(matrices, in_size, out_size, align) if pixels else matrices
