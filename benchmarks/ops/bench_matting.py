"""Matting: the Laplacian, its energy, mattes, foregrounds and the guided filter, against PyMatting,
SciPy, torch's sparse products and OpenCV."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.ops.matting_alone import measured
from benchmarks.ops.matting_cases import BOTH, Prepare, case_of
from benchmarks.results import Figure, Goal
from benchmarks.scenes import Scene, scene_of
from pyfast.data import matte_errors

pymatting = pytest.importorskip("pymatting", reason="the extra `bench` is not installed")
pytestmark = pytest.mark.usefixtures("on_the_cpu")


def bars(peer: str, must: float, stretch: float) -> tuple[Goal, ...]:
    """The same on one thread and on two: PyMatting knows only one."""
    return tuple(Goal(peer, must, stretch, threads=threads) for threads in (1, 2))


def planes(picture: np.ndarray) -> Tensor:
    """(H, W, C) -> (C, H, W)"""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, -1, 0)))


def result(array: Any) -> tuple[Tensor, ...]:
    return (torch.as_tensor(np.asarray(array)),)


# --- the matrix and its energy --------------------------------------------------------------------


def laplacian(scene: Scene, device: torch.device) -> Prepared:
    vector = np.random.default_rng(0).random(scene.alpha.size)
    image = planes(scene.image)
    columns = {
        "pyfast": Column(
            lambda: pyfast.matting_laplacian(image, layout="scipy"), lambda m: result(m @ vector)
        ),
        "pymatting": Column(
            lambda: pymatting.cf_laplacian(scene.image), lambda m: result(m @ vector)
        ),
    }
    return Prepared(columns, result(pyfast.MattingLaplacian(image).matvec(vector)))


def energy(scene: Scene, device: torch.device) -> Prepared:
    """Three channels and their gradient; the peers are given the matrix."""
    image = planes(scene.image).float()
    v = planes(scene.foreground).float().requires_grad_()
    csr = pyfast.matting_laplacian(image.double(), layout="csr")
    matrix = torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), csr.values().float(), csr.shape
    )
    scipys = pyfast.matting_laplacian(image.double(), layout="scipy")
    columns = np.ascontiguousarray(scene.foreground.reshape(-1, 3))

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(pyfast.matting_energy(v, image, 1e-7), v)

    def torchs() -> tuple[Tensor, ...]:
        flat = v.flatten(1).mT
        return torch.autograd.grad((flat * torch.sparse.mm(matrix, flat)).sum(), v)

    exact = 2 * (scipys @ columns)
    exact = torch.from_numpy(exact).mT.view(v.shape)
    return Prepared(
        {
            "pyfast": Column(ours, tolerance=1e-2),
            "torch.sparse": Column(torchs, tolerance=1e-1),
            "scipy": Column(
                lambda: 2 * (scipys @ columns),
                lambda g: (torch.from_numpy(g).mT.view(v.shape),),
            ),
        },
        (exact,),
    )


# --- mattes ---------------------------------------------------------------------------------------


def alpha_from(marks: str) -> Prepare:
    def prepare(scene: Scene, device: torch.device) -> Prepared:
        trimap = getattr(scene, marks)
        # The solution of our system, as the tests find it directly. PyMatting's matrix is off by
        # 1e-4 in the smooth windows of these scenes, and its solution with it.
        exact = pyfast.estimate_alpha(scene.image, trimap, rtol=1e-10, maxiter=3000)
        columns = {
            "pyfast": Column(lambda: pyfast.estimate_alpha(scene.image, trimap), result),
            "pymatting": Column(
                lambda: pymatting.estimate_alpha_cf(scene.image, trimap), result, tolerance=0.1
            ),
        }
        return Prepared(columns, result(exact))

    return prepare


# --- foregrounds and the guided filter ------------------------------------------------------------


def multilevel(scene: Scene, device: torch.device) -> Prepared:
    image, alpha = scene.image.astype(np.float32), scene.alpha.astype(np.float32)
    # Each is near the truth, not near the other: what is seen of the foreground.
    weight = torch.from_numpy(scene.alpha)[..., None]

    def seen(foreground: Any) -> tuple[Tensor, ...]:
        return (weight * torch.from_numpy(np.asarray(foreground)),)

    columns = {
        "pyfast": Column(lambda: pyfast.estimate_foreground(image, alpha), seen, 0.05),
        "pymatting": Column(lambda: pymatting.estimate_foreground_ml(image, alpha), seen, 0.05),
    }
    return Prepared(columns, (weight * torch.from_numpy(scene.foreground),))


def closed_form(scene: Scene, device: torch.device) -> Prepared:
    image, alpha = scene.image, scene.alpha
    weight = torch.from_numpy(alpha)[..., None]

    def seen(foreground: Any) -> tuple[Tensor, ...]:
        return (weight * torch.from_numpy(np.asarray(foreground)),)

    exact = pymatting.estimate_foreground_cf(image, alpha, rtol=1e-8)
    columns = {
        "pyfast": Column(
            lambda: pyfast.estimate_foreground(image, alpha, method="closed_form"), seen, 5e-3
        ),
        "pymatting": Column(lambda: pymatting.estimate_foreground_cf(image, alpha), seen),
    }
    return Prepared(columns, seen(exact))


EPSILON = 1e-2  # below that OpenCV's float32 sums fail


def guided(radius: int) -> Prepare:
    def prepare(scene: Scene, device: torch.device) -> Prepared:
        guide, mask = scene.image.astype(np.float32), scene.trimap.astype(np.float32)
        exact = pyfast.guided_filter(scene.image, scene.trimap, radius, EPSILON)
        columns = {
            "pyfast": Column(lambda: pyfast.guided_filter(guide, mask, radius, EPSILON), result)
        }
        try:
            from cv2 import ximgproc
        except ImportError:
            return Prepared(columns, result(exact))
        # It differs at the edges of the picture, where it mirrors.
        columns["opencv"] = Column(
            lambda: ximgproc.guidedFilter(guide, mask, radius, EPSILON), result, tolerance=0.2
        )
        return Prepared(columns, result(exact))

    return prepare


CASES = [
    *(
        case_of("laplacian", mp, laplacian, bars("pymatting", 5, 9), bytes_per_pixel=324)
        for mp in (0.25, 1)
    ),
    case_of("energy", 0.35, energy, bars("torch.sparse", 60, 150) + bars("scipy", 2, 5), BOTH, 36),
    *(
        case_of("alpha-trimap", mp, alpha_from("trimap"), bars("pymatting", 6, 20))
        for mp in (0.25, 1)
    ),
    case_of("alpha-scribbles", 0.1, alpha_from("scribbles"), bars("pymatting", 15, 40)),
    case_of("foreground-multilevel", 1, multilevel, bars("pymatting", 1.5, 4), bytes_per_pixel=40),
    case_of("foreground-closed-form", 0.25, closed_form, bars("pymatting", 5, 15)),
    *(
        case_of(
            f"guided-filter-radius-{radius}",
            1,
            guided(radius),
            bars("opencv", 1, 2),
            bytes_per_pixel=20,
        )
        for radius in (8, 60)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_matting(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)


# --- what takes long: one call in a process of its own --------------------------------------------

# Task, megapixels, must and stretch of the ratio to PyMatting (None: it is not asked).
LONG = [
    ("trimap", 2, (6, 20)),
    ("trimap", 4, (6, 20)),
    ("scribbles", 0.25, (20, 60)),
    ("scribbles", 1, (20, 60)),
    ("scribbles", 4, None),
    ("scribbles", 8, None),
]


@pytest.mark.parametrize(("task", "megapixels", "bar"), LONG, ids=str)
def bench_alone(task: str, megapixels: float, bar: Any, figure: Callable[[Figure], None]) -> None:
    case = f"alpha-{task}-{megapixels}MP"
    ours = measured("pyfast", task, megapixels)
    assert "failure" not in ours, ours
    if bar is not None:
        theirs = measured("pymatting", task, megapixels)
        ratio = theirs["seconds"] / ours["seconds"]
        figure(Figure(case, "times PyMatting's speed, one call", ratio, {}, *bar, least=True))
        peers = {"pymatting": theirs["seconds"]}
        memory = {"pymatting": theirs["bytes"] / 2**30}
    else:
        peers, memory = {}, {}
    limits = (40, 12) if (task, megapixels) == ("scribbles", 4) else (None, None)
    figure(Figure(case, "s", ours["seconds"], peers, *limits))
    limit = 1.5 if (task, megapixels) == ("scribbles", 4) else None
    figure(Figure(case, "GiB over base at the peak", ours["bytes"] / 2**30, memory, limit))


@pytest.mark.parametrize("megapixels", [0.25, 1])
def bench_memory_of_the_matrix(megapixels: float, figure: Callable[[Figure], None]) -> None:
    ours, theirs = (measured(name, "laplacian", megapixels) for name in ("pyfast", "pymatting"))
    figure(
        Figure(
            f"laplacian-{megapixels}MP",
            "times less memory than PyMatting at the peak",
            theirs["bytes"] / ours["bytes"],
            {},
            1.4,
            least=True,
        )
    )


# --- how it grows, who else calls, what it costs to import ----------------------------------------

CURVE = (0.1, 0.25, 0.5, 1, 2, 4, 8)


def bench_growth(figure: Callable[[Figure], None]) -> None:
    """Time by unknown pixel over sizes, from trimaps."""
    rates = {}
    for megapixels in CURVE:
        scene = scene_of(megapixels)
        unknown = int((scene.trimap == 0.5).sum())
        seconds = []
        for _ in range(3 if megapixels < 2 else 1):
            start = time.perf_counter()
            pyfast.estimate_alpha(scene.image, scene.trimap)
            seconds.append(time.perf_counter() - start)
        rates[megapixels] = min(seconds) / unknown * 1e6
        figure(Figure(f"alpha-trimap-{megapixels}MP", "µs an unknown pixel", rates[megapixels], {}))
    spread = max(rates.values()) / min(rates.values())
    figure(Figure("alpha-trimap", "most over least time a pixel, 0.1 to 8 MP", spread, {}, 2))


@pytest.mark.parametrize("callers", [1, 2, 4])
def bench_concurrent_callers(callers: int, figure: Callable[[Figure], None]) -> None:
    scene = scene_of(0.25)
    seconds: list[float] = []
    mattes: list[np.ndarray] = []

    def work() -> None:
        for _ in range(12 // callers):
            start = time.perf_counter()
            mattes.append(pyfast.estimate_alpha(scene.image, scene.trimap))
            seconds.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(matte, mattes[0]) for matte in mattes)
    for share in (50, 99):
        value = float(np.percentile(seconds, share)) * 1e3
        figure(Figure(f"alpha-trimap-0.25MP, {callers} callers", f"ms, p{share}", value, {}))


def bench_import(figure: Callable[[Figure], None]) -> None:
    script = (
        "import time, torch; start = time.perf_counter(); import pyfast;"
        "print(time.perf_counter() - start)"
    )
    runs = [
        float(subprocess.check_output([sys.executable, "-c", script], text=True)) for _ in range(3)
    ]
    figure(Figure("import pyfast", "s after torch", min(runs), {}, 0.3))


def bench_eigenvectors(figure: Callable[[Figure], None]) -> None:
    """The ten smallest eigenvalues: LOBPCG with the multigrid against SciPy's shift-invert."""
    from scipy.sparse.linalg import eigsh

    scene = scene_of(0.1)
    laplacian = pyfast.MattingLaplacian(planes(scene.image))
    start = time.perf_counter()
    laplacian.eigs(10)
    ours = time.perf_counter() - start
    matrix = laplacian.to_scipy().tocsc()
    start = time.perf_counter()
    eigsh(matrix, 10, sigma=-1e-8, which="LM")
    theirs = time.perf_counter() - start
    name = "eigs(10)-0.1MP"
    figure(Figure(name, "times SciPy's speed", theirs / ours, {}, 5, 15, least=True))
    figure(Figure(name, "s", ours, {"scipy": theirs}))


# --- how near to the truth ------------------------------------------------------------------------


@pytest.mark.parametrize("marks", ["trimap", "scribbles"])
def bench_accuracy(marks: str, figure: Callable[[Figure], None]) -> None:
    """Errors of mattes of known alpha, beside PyMatting's on the same scene."""
    scene = scene_of(0.1)
    trimap = getattr(scene, marks)
    unknown = trimap == 0.5
    found, other = (
        matte_errors(matte, scene.alpha, unknown)
        for matte in (
            pyfast.estimate_alpha(scene.image, trimap),
            pymatting.estimate_alpha_cf(scene.image, trimap),
        )
    )
    for name, value in found.items():
        peers = {"pymatting": other[name]}
        figure(Figure(f"alpha-{marks}-0.1MP", name, value, peers, 1.01 * other[name]))
