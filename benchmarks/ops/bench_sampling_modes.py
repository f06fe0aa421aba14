"""Sampling beyond affine maps of images: volumes, bicubic, homographies, flows, half, pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.ops.bench_sampling import (
    BOTH,
    FORWARD,
    NCHW,
    against_torch,
    make_input,
    make_theta,
    with_backward,
)
from benchmarks.results import Goal

SCAN = (1, 1, 96, 96, 96)
VOLUME_FEATURES = (2, 16, 32, 32, 32)
LARGE_SCAN = (1, 1, 128, 128, 128)
PHOTOS = (16, 3, 224, 224)
PHOTO = (1, 3, 224, 224)
FEATURES = (4, 64, 64, 64)
CLIPS = (8, 3, 256, 256)
HD_FRAME = (1, 3, 1080, 1920)

# (op, shape): (must, stretch) of forward, and of forward and backward, against torch.
BARS: dict[tuple[str, tuple[int, ...]], tuple[tuple[float, float], tuple[float, float]]] = {
    ("grid_sample", SCAN): ((3.5, 6), (3, 5)),
    ("grid_sample", VOLUME_FEATURES): ((3.5, 6), (3, 5)),
    ("affine_grid_sample", SCAN): ((6, 12), (3, 5)),
    ("affine_grid_sample", VOLUME_FEATURES): ((6, 12), (3, 5)),
    ("bicubic", FEATURES): ((2, 4), (1.5, 3)),
    ("bicubic", PHOTOS): ((2, 4), (1.5, 3)),
    ("homography_grid_sample", PHOTOS): ((3, 5), (2, 4)),
    ("homography_grid_sample", HD_FRAME): ((3, 5), (2, 4)),
    ("warp", CLIPS): ((3, 5), (2, 4)),
    ("warp", LARGE_SCAN): ((4, 8), (2, 4)),
}
HALF_BAR = (1 / 1.5, 1.0)  # as fast as float32 is
OPENCV_BARS = {PHOTO: (1.2, 2), HD_FRAME: (1.0, 1.5)}


def make_volume_theta(batch: int, device: torch.device) -> Tensor:
    """Turns and scales about each axis, a little."""
    bend = torch.empty(batch, 3, 4).uniform_(-0.2, 0.2)
    return (torch.eye(3, 4) + bend).to(device)


def make_homography(batch: int, device: torch.device) -> Tensor:
    """`make_theta`, seen slantwise: denominators from .8 to 1.2."""
    slant = torch.empty(batch, 1, 2).uniform_(-0.1, 0.1)
    row = torch.cat([slant, torch.ones(batch, 1, 1)], 2).to(device)
    return torch.cat([make_theta(batch, device), row], 1)


def make_flow(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Smooth, up to some ten pixels: what registration and optical flow give."""
    batch, _, *sides = shape
    coarse = 5 * torch.randn(batch, len(sides), *[max(2, n // 16) for n in sides])
    mode = "bilinear" if len(sides) == 2 else "trilinear"
    return F.interpolate(coarse, tuple(sides), mode=mode, align_corners=True).to(device)


def identity_grid(sides: list[int], device: torch.device) -> Tensor:
    eye = torch.eye(len(sides), len(sides) + 1, device=device)[None]
    return F.affine_grid(eye, [1, 1, *sides], align_corners=False)


def prepare(case: Case, device: torch.device) -> Prepared:
    torch.manual_seed(0)
    image = make_input(case, device)
    batch, channels, *sides = case.shape
    size = [batch, channels, *sides]
    if case.op == "grid_sample":
        grid = F.affine_grid(make_volume_theta(batch, device), size, align_corners=False)
        sample = partial(pyfast.grid_sample, align_corners=False)
        return against_torch(
            case, sample, partial(F.grid_sample, align_corners=False), [image, grid]
        )
    if case.op == "affine_grid_sample":
        return against_torch(
            case,
            lambda x, theta: pyfast.affine_grid_sample(x, theta, sides),
            lambda x, theta: F.grid_sample(
                x, F.affine_grid(theta, size, align_corners=False), align_corners=False
            ),
            [image, make_volume_theta(batch, device)],
        )
    if case.op == "bicubic":
        grid = F.affine_grid(make_theta(batch, device), size, align_corners=False)
        options = {"mode": "bicubic", "align_corners": False}
        return against_torch(
            case,
            partial(pyfast.grid_sample, **options),
            partial(F.grid_sample, **options),
            [image, grid],
        )
    if case.op == "homography_grid_sample":
        base = identity_grid(sides, device)
        points = torch.cat([base, torch.ones_like(base[..., :1])], -1)

        def by_torch(x: Tensor, matrix: Tensor) -> Tensor:
            mapped = points.to(matrix.dtype) @ matrix[:, None].mT
            return F.grid_sample(x, mapped[..., :2] / mapped[..., 2:], align_corners=False)

        return against_torch(
            case,
            lambda x, matrix: pyfast.homography_grid_sample(x, matrix, sides),
            by_torch,
            [image, make_homography(batch, device)],
        )
    base, scale = identity_grid(sides, device), 2 / torch.tensor(sides[::-1], device=device)

    def by_identity_grid(x: Tensor, flow: Tensor) -> Tensor:
        grid = base.to(flow.dtype) + flow.movedim(1, -1) * scale.to(flow.dtype)
        return F.grid_sample(x, grid, align_corners=False)

    return against_torch(
        case, pyfast.warp, by_identity_grid, [image, make_flow(case.shape, device)]
    )


def prepare_half(case: Case, device: torch.device) -> Prepared:
    """Against our own float32, which torch's half on a CPU is too wrong and too slow for."""
    torch.manual_seed(0)
    batch, _, *sides = case.shape
    dtype = torch.float16 if case.op == "float16" else torch.bfloat16
    half, theta = make_input(case, device).to(dtype), make_theta(batch, device)

    def call(x: Tensor, theta: Tensor) -> Tensor:
        return pyfast.affine_grid_sample(x, theta, sides)

    def columns(one: Callable[[list[Tensor]], Callable[[], Any]]) -> Prepared:
        named = {
            "pyfast": Column(one([half, theta]), tolerance=0.1),
            "float32": Column(one([half.float(), theta]), tolerance=0.1),
        }
        return Prepared(named, tuple(exact(one([half.double(), theta.double()])())))

    def exact(result: Any) -> Any:
        return (result,) if isinstance(result, Tensor) else result

    if case.backward:
        return columns(lambda inputs: with_backward(call, inputs))
    return columns(lambda inputs: lambda: call(*inputs))


def prepare_pixels(case: Case, device: torch.device) -> Prepared:
    """Maps from the image to the output, as OpenCV takes them, inverted inside the call."""
    torch.manual_seed(0)
    height, width = case.shape[2:]
    image, projective = make_input(case, device), case.op == "warp_perspective"
    to_pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    matrix = make_homography(1, device)[0].double().cpu().numpy()
    matrix = to_pixels @ matrix @ np.linalg.inv(to_pixels)
    if not projective:
        matrix = np.vstack([matrix[:2] / matrix[2, 2], [0, 0, 1]])
    rows = torch.from_numpy(matrix if projective else matrix[:2]).to(device)
    function = pyfast.warp_perspective if projective else pyfast.warp_affine
    inverse = torch.linalg.inv(torch.from_numpy(matrix)).to(device)

    def by_torch(x: Tensor) -> Tensor:
        y, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points = torch.stack([column, y, torch.ones_like(y)], -1).to(x) @ inverse.to(x).mT
        pixels = points[..., :2] / points[..., 2:]
        grid = (2 * pixels + 1) / torch.tensor([width, height]).to(x) - 1
        return F.grid_sample(x, grid[None], align_corners=False)

    columns = {
        "pyfast": Column(lambda: function(image, rows)),
        "torch": Column(lambda: by_torch(image)),
    }
    try:
        import cv2
    except ImportError:
        pass
    else:
        cv2.setNumThreads(torch.get_num_threads())
        picture = np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
        warp = cv2.warpPerspective if projective else cv2.warpAffine
        chosen = matrix if projective else matrix[:2]

        def tensors(result: np.ndarray) -> tuple[Tensor, ...]:
            return (torch.from_numpy(result).movedim(2, 0)[None],)

        columns["opencv"] = Column(lambda: warp(picture, chosen, (width, height)), tensors, 5e-2)
    return Prepared(columns, (by_torch(image.double()),))


def work(shape: tuple[int, ...], direction: str, taps: int, places: int) -> dict[str, int]:
    """Bytes and operations by the formula, as in `bench_sampling`.

    Args:
        taps: pixels that a sample reads: each costs two operations a channel forward, and with its
            slope five backward.
        places: numbers a pixel that say where to sample: 0 for a matrix.
    """
    batch, channels, *sides = shape
    pixels = batch * int(np.prod(sides))
    image, field = 4 * channels * pixels, 4 * places * pixels
    if direction == FORWARD:
        return {"bytes": 2 * image + field, "flops": pixels * (16 + 2 * taps * channels)}
    return {"bytes": 5 * image + 3 * field, "flops": pixels * (44 + 7 * taps * channels)}


def torch_cases() -> list[Case]:
    cases = []
    for (op, shape), bars in BARS.items():
        dims = len(shape) - 2
        taps = 16 if op == "bicubic" else 2**dims
        places = 0 if op in ("affine_grid_sample", "homography_grid_sample") else dims
        for direction, bar in zip((FORWARD, BOTH), bars, strict=True):
            amount = work(shape, direction, taps, places)
            goals = (Goal("torch", *bar),)
            cases.append(Case(op, shape, NCHW, direction, prepare, **amount, goals=goals))
    return cases


def half_cases() -> list[Case]:
    return [
        Case(
            op,
            shape,
            NCHW,
            direction,
            prepare_half,
            **work(shape, direction, 4, 0),
            goals=(Goal("float32", *HALF_BAR),),
        )
        for op in ("float16", "bfloat16")
        for shape in (PHOTOS, (8, 64, 128, 128))
        for direction in (FORWARD, BOTH)
    ]


def pixel_cases() -> list[Case]:
    return [
        Case(
            op,
            shape,
            NCHW,
            FORWARD,
            prepare_pixels,
            **work(shape, FORWARD, 4, 0),
            goals=(Goal("opencv", *bar),),
        )
        for op in ("warp_affine", "warp_perspective")
        for shape, bar in OPENCV_BARS.items()
    ]


@pytest.mark.parametrize("case", [*torch_cases(), *half_cases(), *pixel_cases()], ids=str)
def bench_sampling_modes(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
