"""How near the dense CRF is to its definition and to pydensecrf, and what a lattice takes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import pyfast
from benchmarks.ops import crf_scenes
from benchmarks.ops.crf_scenes import DEEPLAB, WIDE, Peer, Scene, Sigmas
from benchmarks.results import Figure
from pyfast._native import _C
from pyfast.data import PHOTOGRAPHS

Record = Callable[[Figure], None]
CROP = 64
ITERATIONS = 10
# Relative L2 to the exact marginals: of lattice, closed and exact.
ACCURACY_BARS = {
    DEEPLAB: {"lattice": 0.152, "closed": 0.07, "exact": 2e-3},
    WIDE: {"lattice": 0.101, "closed": 0.035, "exact": 2e-3},
}


@pytest.fixture(scope="module", autouse=True)
def skip_on_a_gpu(pytestconfig: pytest.Config) -> None:
    if pytestconfig.option.device != "cpu":
        pytest.skip("figures are of the CPU")


def crops() -> list[Scene]:
    """64 x 64 pixels amid every photograph."""
    found = []
    for name in PHOTOGRAPHS:
        whole = crf_scenes.scene(300, 400, 21, name)
        rows, columns = slice(118, 118 + CROP), slice(168, 168 + CROP)
        parts = whole.unary[..., rows, columns], whole.image[..., rows, columns]
        found.append(Scene(*(part.contiguous() for part in parts)))
    return found


def exact(scene: Scene, sigmas: Sigmas) -> Tensor:
    """The definition in float64, all pairs of pixels: (1, L, H, W)."""
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    place = torch.stack([x, y]).flatten(1).double()
    colour = scene.image[0].flatten(1).double()
    kernels = torch.zeros(CROP**2, CROP**2, dtype=torch.double)
    for features, weight in (
        (place / sigmas.gaussian, sigmas.gaussian_weight),
        (torch.cat([place / sigmas.xy, colour / sigmas.rgb]), sigmas.bilateral_weight),
    ):
        matrix = torch.exp(-0.5 * torch.cdist(features.T, features.T).square())
        root = matrix.sum(1).sqrt()
        kernels += weight * matrix / root / root[:, None]
    unary = scene.unary[0].flatten(1).double()
    marginals = torch.softmax(-unary, 0)
    for _ in range(ITERATIONS):
        marginals = torch.softmax(-unary + marginals @ kernels, 0)
    return marginals.view(1, -1, CROP, CROP)


def distance(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Relative L2, and labels that are equal in per cent."""
    error = ((found.double() - wanted).norm() / wanted.norm()).item()
    return error, 100 * (found.argmax(1) == wanted.argmax(1)).double().mean().item()


@pytest.mark.parametrize("sigmas", [DEEPLAB, WIDE], ids=str)
def bench_accuracy(sigmas: Sigmas, figure: Record) -> None:
    scenes = crops()
    wanted = [exact(scene, sigmas) for scene in scenes]

    def mean(call: Callable[[Scene], Tensor]) -> tuple[float, float]:
        found = [distance(call(s), w) for s, w in zip(scenes, wanted, strict=True)]
        return tuple(np.mean(found, axis=0))

    module = crf_scenes.peer()
    theirs = None
    if module is not None:

        def by_peer(scene: Scene) -> Tensor:
            peer = Peer(module, scene, sigmas)
            return peer.tensors(peer(ITERATIONS))[0]

        theirs = mean(by_peer)
    for method, bar in ACCURACY_BARS[sigmas].items():
        error, equal = mean(lambda s, m=method: crf_scenes.ours(s, sigmas, ITERATIONS, method=m))
        peers = [{} if theirs is None else {"pydensecrf": value} for value in theirs or (0, 0)]
        case = f"{method} {sigmas}, crops of {len(scenes)} photographs"
        figure(Figure(case, "relative L2 to exact marginals", error, peers[0], bar))
        least = 98.5 if method == "closed" else None
        measure = "labels of exact marginals, %"
        figure(Figure(case, measure, equal, peers[1], least, least=True))
    double = [Scene(scene.unary.double(), scene.image) for scene in scenes]
    found = [
        distance(crf_scenes.ours(s, sigmas, ITERATIONS, method="exact"), w)[0]
        for s, w in zip(double, wanted, strict=True)
    ]
    figure(Figure(f"exact {sigmas} in float64", "relative L2", max(found), {}, 1e-9))


def bench_same_answers(figure: Record) -> None:
    """Against pydensecrf's marginals, five iterations, the whole photograph."""
    module = crf_scenes.peer()
    if module is None:
        pytest.skip("pydensecrf is not installed")
    scene = crf_scenes.scene(375, 500, 21)
    features = pyfast.bilateral_features(scene.image.float(), DEEPLAB.xy, DEEPLAB.rgb)
    kernels = [(pyfast.GaussianFilter(features), DEEPLAB.bilateral_weight)]
    ours = pyfast.mean_field(scene.unary.flatten(2), kernels, iterations=5)
    peer = Peer(module, scene, DEEPLAB)
    theirs = torch.from_numpy(np.array(peer.build(gaussian=False).inference(5)))[None]
    case = "bilateral kernel alone, 500x375x21, 5 iterations"
    difference = (ours - theirs).abs().mean().item()
    equal = 100 * (ours.argmax(1) == theirs.argmax(1)).double().mean().item()
    figure(Figure(case, "mean difference from pydensecrf", difference, {}, 5e-5, 1e-5))
    figure(Figure(case, "labels of pydensecrf, %", equal, {}, 99.99, least=True))
    both = crf_scenes.ours(scene, DEEPLAB, 5)
    equal = 100 * (both.argmax(1) == peer.tensors(peer(5))[0].argmax(1)).double().mean().item()
    case = f"both kernels {DEEPLAB}, 500x375x21, 5 iterations"
    figure(Figure(case, "labels of pydensecrf, %", equal, {}, 98, least=True))


@pytest.mark.parametrize("dims", [5, 8, 16])
def bench_lattice_memory(dims: int, figure: Record) -> None:
    points = 50_000
    lattice = _C.gaussian_lattice(crf_scenes.point_cloud(dims, points).numpy())
    case = f"GaussianFilter of {points} points, d {dims}"
    figure(Figure(case, "bytes of a lattice a point", lattice.nbytes / points, {}))
