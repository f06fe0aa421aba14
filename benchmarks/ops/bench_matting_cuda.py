"""Matting on a GPU: matrix, products, energy and mattes, against torch's sparse products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.ops.matting_cases import BOTH, Prepare, case_of
from benchmarks.results import Goal
from benchmarks.scenes import Scene

pytestmark = pytest.mark.usefixtures("on_a_gpu")


def planes(array: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, C) -> (C, H, W)"""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0))).to(device)


def laplacian(scene: Scene, device: torch.device) -> Prepared:
    image = planes(scene.image, device)
    expected = pyfast.matting_laplacian(image.cpu()).values()
    column = Column(lambda: pyfast.matting_laplacian(image), lambda m: (m.values().cpu(),))
    return Prepared({"pyfast": column}, (expected,))


def product(scene: Scene, device: torch.device) -> Prepared:
    image, v = planes(scene.image, device), planes(scene.foreground, device)
    operator = pyfast.MattingLaplacian(image)
    matrix, columns = pyfast.matting_laplacian(image), v.flatten(1).mT.contiguous()
    expected = (pyfast.matting_laplacian(image.cpu()) @ columns.cpu(),)
    return Prepared(
        {
            "pyfast": Column(lambda: operator @ columns, lambda found: (found.cpu(),)),
            "torch.sparse": Column(lambda: matrix @ columns, lambda found: (found.cpu(),)),
        },
        expected,
    )


def energy(scene: Scene, device: torch.device) -> Prepared:
    """Three channels and their gradient; torch is given the matrix."""
    image = planes(scene.image, device).float()
    v = planes(scene.foreground, device).float().requires_grad_()
    matrix = pyfast.matting_laplacian(image.double()).float()
    exact_matrix = pyfast.matting_laplacian(image.double().cpu())
    flat = v.detach().double().cpu().flatten(1).mT
    expected = 2 * (exact_matrix @ flat).mT.reshape(v.shape)

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(pyfast.matting_energy(v, image, 1e-7), v)

    def torchs() -> tuple[Tensor, ...]:
        columns = v.flatten(1).mT
        return torch.autograd.grad((columns * torch.sparse.mm(matrix, columns)).sum(), v)

    def on_host(found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(gradient.cpu() for gradient in found)

    return Prepared(
        {
            "pyfast": Column(ours, on_host, tolerance=1e-2),
            "torch.sparse": Column(torchs, on_host, tolerance=1e-1),
        },
        (expected,),
    )


def alpha_from(marks: str) -> Prepare:
    def prepare(scene: Scene, device: torch.device) -> Prepared:
        image, trimap = planes(scene.image, device), getattr(scene, marks)
        marked = torch.from_numpy(trimap).to(device)
        # As near to the truth as closed-form matting comes.
        column = Column(
            lambda: pyfast.estimate_alpha(image, marked), lambda a: (a.cpu(),), tolerance=0.3
        )
        return Prepared({"pyfast": column}, (torch.from_numpy(scene.alpha),))

    return prepare


def within(seconds: float) -> tuple[Goal, ...]:
    """What an H200 is to do a case in."""
    return (Goal("seconds", seconds, device="cuda"),)


# Bytes: of the image and what else is read, and of what is written. In float64 24 for colours, 8 a
# vector, 12 an entry of the matrix with its column; in float32 half of the first two. A solve has
# as many as its iterations need: docs/operators/matting_cuda.md counts them.
CASES = [
    case_of("laplacian", 1, laplacian, within(0.2e-3), bytes_per_pixel=24 + 25 * 12),
    case_of("product-3-vectors", 1, product, bytes_per_pixel=24 + 6 * 8),
    case_of("energy", 0.35, energy, direction=BOTH, bytes_per_pixel=12 + 6 * 4),
    case_of("alpha-trimap", 1, alpha_from("trimap"), within(10e-3)),
    case_of("alpha-trimap", 8, alpha_from("trimap"), within(50e-3)),
    case_of("alpha-scribbles", 1, alpha_from("scribbles")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_matting_cuda(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
