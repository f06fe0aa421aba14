"""The dense CRF beyond single calls: memory, cost by size, several callers, kept filters."""

import threading
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
import torch

import pyfast
from benchmarks.memory import MEGABYTE, in_child
from benchmarks.ops import crf_scenes
from benchmarks.ops.crf_scenes import DEEPLAB
from benchmarks.results import Figure

Record = Callable[[Figure], None]
ITERATIONS = 10
CHILD = "benchmarks.ops.crf_memory"


# Relative L2 to the exact marginals: of lattice, closed and exact.
@pytest.fixture(scope="module", autouse=True)
def skip_on_a_gpu(pytestconfig: pytest.Config) -> None:
    if pytestconfig.option.device != "cpu":
        pytest.skip("figures are of the CPU")


@pytest.mark.parametrize(("labels", "share"), [(2, None), (21, 1.0), (150, 0.7)])
def bench_memory(labels: int, share: float | None, figure: Record) -> None:
    """Peak above the state with the inputs made, in a process of its own."""
    ours = in_child(CHILD, "pyfast", 375, 500, labels)["peak"] / MEGABYTE
    case = f"dense_crf 500x375x{labels}"
    if crf_scenes.peer() is None:
        figure(Figure(case, "peak memory, MB", ours, {}))
        return
    theirs = in_child(CHILD, "pydensecrf", 375, 500, labels)["peak"] / MEGABYTE
    bar = None if share is None else share * theirs
    figure(Figure(case, "peak memory, MB", ours, {"pydensecrf": theirs}, bar))


def bench_growth(figure: Record) -> None:
    grown = in_child(CHILD, "pyfast", 321, 321, 21, 100)["growth"] / MEGABYTE
    figure(Figure("dense_crf 321x321x21", "growth over 100 calls, MB", grown, {}, 10))


def bench_cost_by_size(figure: Record) -> None:
    """Enlarged photographs, 21 labels, ten iterations: nanoseconds a pixel and iteration."""
    costs = []
    for megapixels in (0.1, 0.25, 0.5, 1, 2, 4, 8):
        height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
        scene = crf_scenes.scene(height, height * 4 // 3, 21)
        seconds = []
        for _ in range(3 if megapixels < 2 else 1):
            start = time.perf_counter()
            crf_scenes.ours(scene, DEEPLAB, ITERATIONS)
            seconds.append(time.perf_counter() - start)
        costs.append(1e9 * min(seconds) / scene.pixels / ITERATIONS)
        case = f"dense_crf {megapixels:g} MP"
        figure(Figure(case, "ns a pixel and iteration, setup included", costs[-1], {}))
    case, measure = "dense_crf 0.1 to 8 MP", "dearest over cheapest pixel"
    figure(Figure(case, measure, max(costs) / min(costs), {}))


def bench_kept_filter(figure: Record) -> None:
    """A call with a filter that is there: what it costs beyond a call that makes the filter, less
    the making; and over its iterations alone, without the first softmax and the planes of Q."""
    scene = crf_scenes.scene(375, 500, 21)
    features = pyfast.bilateral_features(scene.image.float(), DEEPLAB.xy, DEEPLAB.rgb)
    kept = pyfast.GaussianFilter(features)
    unary = scene.unary.flatten(2)

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def infer(kernel: pyfast.GaussianFilter | torch.Tensor, iterations: int = ITERATIONS) -> float:
        kernels = [(kernel, DEEPLAB.bilateral_weight)]
        return seconds(lambda: pyfast.mean_field(unary, kernels, iterations=iterations))

    infer(kept)
    rounds = [
        (
            infer(kept),
            infer(kept, 2 * ITERATIONS),
            infer(features),
            seconds(lambda: pyfast.GaussianFilter(features)),
        )
        for _ in range(7)
    ]
    share = median(ten / (fresh - setup) for ten, _, fresh, setup in rounds)
    case = "kept filter 500x375x21"
    figure(Figure(case, "call over one with setup, less the setup", share, {}, 1.05))
    share = median(ten / (twenty - ten) for ten, twenty, _, _ in rounds)
    figure(Figure(case, "call over its ten iterations", share, {}))


def bench_exact_against_products(figure: Record) -> None:
    """The exact filter, against all pairs by matrix products, which are timed on a part of them."""
    part = 64
    scene = crf_scenes.scene(375, 500, 21)
    features = pyfast.bilateral_features(scene.image.float(), DEEPLAB.xy, DEEPLAB.rgb)
    values = scene.unary.flatten(2)
    exact = pyfast.GaussianFilter(features, method="exact", cutoff=4.0)
    exact.filter(values[:, :1])
    start = time.perf_counter()
    found = exact.filter(values)
    ours = time.perf_counter() - start

    f, v = features[0], values[0].T.contiguous()
    half = f.square().sum(0) / 2
    rows = range(0, f.shape[1], part)
    start = time.perf_counter()
    # Blocks of rows that fit the cache with their results.
    blocks = [
        torch.exp(f[:, block].T @ f - half[block, None] - half) @ v
        for block in torch.tensor(rows).split(64)
    ]
    products = (time.perf_counter() - start) * f.shape[1] / len(rows)
    error = (found[0].T[rows] - torch.cat(blocks)).norm() / torch.cat(blocks).norm()
    case = f"exact filter 500x375, {DEEPLAB.xy:g}/{DEEPLAB.rgb:g}, 21 channels"
    figure(Figure(case, "relative L2 to all pairs", error.item(), {}, 2e-3))
    measure = "times as fast as matrix products in torch"
    figure(Figure(case, measure, products / ours, {}, 8, least=True))
    figure(Figure(case, "seconds", ours, {"torch": products}))


@pytest.mark.parametrize("callers", [1, 2, 4])
def bench_callers(callers: int, figure: Record) -> None:
    """Python threads that call at once, on a picture each; all must get the same bits."""
    scene = crf_scenes.scene(321, 321, 21)
    wanted = crf_scenes.ours(scene, DEEPLAB, ITERATIONS)
    latencies: list[float] = []
    wrong: list[int] = []

    def work() -> None:
        for _ in range(24 // callers):
            start = time.perf_counter()
            found = crf_scenes.ours(scene, DEEPLAB, ITERATIONS)
            latencies.append(time.perf_counter() - start)
            if not torch.equal(found, wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, "callers disturb each other"
    for quantile in (50, 99):
        value = 1e3 * float(np.percentile(latencies, quantile))
        case = f"dense_crf 321x321x21, {callers} callers"
        figure(Figure(case, f"p{quantile} of latency, ms", value, {}))
