"""Affine sampling: fused, and its two halves alone, against torch and OpenCV."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.results import Goal

DIGITS_28 = (64, 1, 28, 28)
DIGITS_60 = (64, 1, 60, 60)
HOUSE_NUMBERS = (32, 3, 64, 64)
PHOTOS = (16, 3, 224, 224)
HD_FRAME = (1, 3, 1080, 1920)
WIDE_FEATURES = (8, 64, 128, 128)
DEEP_FEATURES = (4, 256, 56, 56)

FORWARD, BOTH = "forward", "forward+backward"
NCHW, CHANNELS_LAST = "nchw", "channels_last"

# (must, stretch): how many times faster than torch, on one thread of a CPU.
FUSED_BARS = {
    (DIGITS_28, NCHW): {FORWARD: (5, 7), BOTH: (2.5, 3.5)},
    (DIGITS_60, NCHW): {FORWARD: (7, 12), BOTH: (2.5, 6)},
    (HOUSE_NUMBERS, NCHW): {FORWARD: (5, 7), BOTH: (3.5, 5)},
    (HOUSE_NUMBERS, CHANNELS_LAST): {FORWARD: (5, 7), BOTH: (3.5, 5)},
    (PHOTOS, NCHW): {FORWARD: (5, 7), BOTH: (3.5, 5)},
    (PHOTOS, CHANNELS_LAST): {FORWARD: (5, 7), BOTH: (3.5, 5)},
    (HD_FRAME, NCHW): {FORWARD: (3, 5.5), BOTH: (2, 4)},
    (HD_FRAME, CHANNELS_LAST): {FORWARD: (3, 5.5), BOTH: (2, 4)},
    (WIDE_FEATURES, NCHW): {FORWARD: (4.5, 8), BOTH: (5, 9)},
    (WIDE_FEATURES, CHANNELS_LAST): {FORWARD: (3.5, 8), BOTH: (5, 12)},
    (DEEP_FEATURES, NCHW): {FORWARD: (4.5, 8), BOTH: (5, 9)},
    (DEEP_FEATURES, CHANNELS_LAST): {FORWARD: (3.5, 8), BOTH: (5, 12)},
}
GRID_BAR = (20, 50)
OPENCV_BAR = (1.5, 3.2)

# Slopes jump where a sample crosses from one pixel to the next, and on white noise by as much as
# they are; float32 coordinates put some samples on the other side than float64 does.
SLOPE_TOLERANCE = 5e-2


def sample_bar(shape: tuple[int, ...], layout: str) -> tuple[float, float]:
    """`grid_sample` alone, forward."""
    if shape[1] <= 4:
        return (1.0 if shape == HD_FRAME else 1.2, 1.5)
    return (4, 6) if layout == NCHW else (2.5, 4)


def make_input(case: Case, device: torch.device) -> Tensor:
    format = torch.channels_last if case.layout == CHANNELS_LAST else torch.contiguous_format
    return torch.randn(case.shape).to(device).contiguous(memory_format=format)


def make_theta(batch: int, device: torch.device) -> Tensor:
    """Rotation by up to 30 degrees, scale .7 to 1.1, shift up to a tenth of the half width."""
    angle = torch.empty(batch).uniform_(-30, 30).deg2rad()
    scale = torch.empty(batch).uniform_(0.7, 1.1)
    shift = torch.empty(batch, 2).uniform_(-0.1, 0.1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    return torch.stack(rows, 1).to(device)


def with_backward(call: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], Any]:
    """Forward and the gradients of every input, for a gradient that has the output's layout."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    gradient = make_gradient(call(*inputs))
    return lambda: torch.autograd.grad(call(*inputs), inputs, gradient)


def make_gradient(output: Tensor) -> Tensor:
    """The same numbers for every column, in the layout and type of its own output."""
    values = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return torch.empty_like(output).copy_(values)


def against_torch(
    case: Case, ours: Callable[..., Tensor], torchs: Callable[..., Tensor], inputs: list[Tensor]
) -> Prepared:
    exact = [x.double() for x in inputs]
    if case.backward:
        columns = {
            name: Column(with_backward(call, inputs), tolerance=SLOPE_TOLERANCE)
            for name, call in (("pyfast", ours), ("torch", torchs))
        }
        return Prepared(columns, with_backward(torchs, exact)())
    columns = {
        "pyfast": Column(lambda: ours(*inputs)),
        "torch": Column(lambda: torchs(*inputs)),
    }
    return Prepared(columns, (torchs(*exact),))


def prepare_fused(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    n, c, h, w = case.shape
    x, theta = make_input(case, device), make_theta(n, device)
    prepared = against_torch(
        case,
        lambda x, theta: pyfast.affine_grid_sample(x, theta, (h, w)),
        lambda x, theta: F.grid_sample(
            x, F.affine_grid(theta, [n, c, h, w], align_corners=False), align_corners=False
        ),
        [x, theta],
    )
    if case.direction == FORWARD and c <= 4 and device.type == "cpu":
        prepared.columns.update(opencv_column(x, theta))
    return prepared


def opencv_column(x: Tensor, theta: Tensor) -> dict[str, Column]:
    """OpenCV on its own layout, (H, W, C), one image after another; none if it is missing."""
    try:
        import cv2
    except ImportError:
        return {}
    cv2.setNumThreads(torch.get_num_threads())
    _, _, h, w = x.shape
    images = list(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pairs = list(zip(images, pixel_matrices(theta, h, w), strict=True))

    def call() -> list[np.ndarray]:
        return [cv2.warpAffine(image, matrix, (w, h), flags=flags) for image, matrix in pairs]

    def tensors(result: list[np.ndarray]) -> tuple[Tensor, ...]:
        return (torch.from_numpy(np.stack(result)).reshape(-1, h, w, x.shape[1]).movedim(3, 1),)

    return {"opencv": Column(call, tensors)}


def pixel_matrices(theta: Tensor, h: int, w: int) -> np.ndarray:
    """theta, which maps coordinates in [-1, 1], as a map of pixel numbers."""
    to_pixels = np.array([[w / 2, 0, (w - 1) / 2], [0, h / 2, (h - 1) / 2], [0, 0, 1]])
    last_row = np.broadcast_to([0.0, 0.0, 1.0], (len(theta), 1, 3))
    square = np.concatenate([theta.double().cpu().numpy(), last_row], axis=1)
    return (to_pixels @ square @ np.linalg.inv(to_pixels))[:, :2]


def prepare_grid(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    theta, size = make_theta(case.shape[0], device), list(case.shape)
    return against_torch(
        case,
        lambda theta: pyfast.affine_grid(theta, size, align_corners=False),
        lambda theta: F.affine_grid(theta, size, align_corners=False),
        [theta],
    )


def prepare_sample(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    theta = make_theta(case.shape[0], device)
    grid = F.affine_grid(theta, list(case.shape), align_corners=False)
    return against_torch(
        case,
        lambda x, grid: pyfast.grid_sample(x, grid, align_corners=False),
        lambda x, grid: F.grid_sample(x, grid, align_corners=False),
        [make_input(case, device), grid],
    )


def work(shape: tuple[int, ...], direction: str, grid: bool) -> dict[str, int]:
    """Bytes and operations of sampling, by the formula.

    Forward reads the image, writes the output: a pixel costs 16 operations for its place and
    weights, a channel 8 for its four taps. Backward reads the image and the gradient of the output,
    writes the gradient of the image: a channel costs 8 for the taps and 12 for the slopes, a pixel
    16 for its place and 12 for theta. A grid is read in both and its gradient written.
    """
    n, c, h, w = shape
    pixels = n * h * w
    image, field = 4 * c * pixels, 8 * pixels * grid
    if direction == FORWARD:
        return {"bytes": 2 * image + field, "flops": pixels * (16 + 8 * c)}
    return {"bytes": 5 * image + 3 * field, "flops": pixels * (44 + 28 * c)}


def fused_cases() -> list[Case]:
    cases = []
    for (shape, layout), bars in FUSED_BARS.items():
        for direction, bar in bars.items():
            amount = work(shape, direction, grid=False)
            goals = [Goal("torch", *bar)]
            if shape == PHOTOS and direction == FORWARD:
                goals.append(Goal("opencv", *OPENCV_BAR))
            if amount["bytes"] > 16 * 2**20:
                goals.append(Goal("floor", 0.6, device="cuda"))
            if shape in (DIGITS_28, DIGITS_60) and direction == FORWARD:
                goals.append(Goal("seconds", 8e-6, device="cuda"))
            case = Case(
                "affine_grid_sample",
                shape,
                layout,
                direction,
                prepare_fused,
                **amount,
                goals=tuple(goals),
            )
            cases.append(case)
    return cases


def grid_cases() -> list[Case]:
    shapes = dict.fromkeys(shape for shape, _ in FUSED_BARS)
    return [
        Case(
            "affine_grid",
            shape,
            NCHW,
            FORWARD,
            prepare_grid,
            bytes=8 * n * h * w,
            flops=8 * n * h * w,
            goals=(Goal("torch", *GRID_BAR),),
        )
        for shape in shapes
        for n, _, h, w in [shape]
    ]


def sample_cases() -> list[Case]:
    return [
        Case(
            "grid_sample",
            shape,
            layout,
            direction,
            prepare_sample,
            **work(shape, direction, grid=True),
            goals=(Goal("torch", *sample_bar(shape, layout)),) if direction == FORWARD else (),
        )
        for shape, layout in FUSED_BARS
        for direction in (FORWARD, BOTH)
    ]


@pytest.mark.parametrize("case", [*fused_cases(), *grid_cases(), *sample_cases()], ids=str)
def bench_sampling(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
