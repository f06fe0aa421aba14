"""How long a call takes here, beside what pydensecrf took where both were measured."""

from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from rich.console import Console

import pyfast
from pyfast._threads import one_thread
from pyfast.demo.dense_crf import scene
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.timing import duration

ROUNDS = 5


class Case(NamedTuple):
    labels: int
    recorded: float  # seconds of pydensecrf, one thread


# Ten iterations with setup at 500 x 375 on the machine below, median of seven.
CASES = (Case(2, 0.549), Case(21, 1.086))
MACHINE = "one core of an AMD EPYC (Zen 5)"


def seconds(labels: int) -> float:
    """The median time of a call, setup included."""
    image = scene.image()[..., :375, :500]
    unary = torch.randn(1, labels, 375, 500, generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        pyfast.dense_crf(unary, image)
        times.append(perf_counter() - start)
    return median(times[1:])


def section(console: Console) -> tuple[Section, Fact]:
    """Times every case on one thread and on all."""
    console.print("\n[bold]Speed[/]: ten iterations, 500 x 375")
    threads = torch.get_num_threads()
    rows, ratios = [], []
    for case in CASES:
        with one_thread():
            alone = seconds(case.labels)
        together = seconds(case.labels)
        ratios.append(case.recorded / alone)
        cells = [duration(value) for value in (case.recorded, alone, together)]
        rows.append((f"{case.labels} labels", *cells, f"{ratios[-1]:.1f}x"))
        console.print(
            f"  {case.labels:3} labels: {cells[1]} on one thread, {cells[2]} on {threads}"
        )
    table = Table(
        (
            "500 x 375",
            "pydensecrf, recorded",
            "pyfast, 1 thread",
            f"pyfast, {threads} threads",
            "recorded / 1 thread",
        ),
        rows,
        f"pydensecrf, which knows one thread, was timed on {MACHINE}; pyfast is timed here and "
        "now. On another machine the ratio is not one of the two libraries.",
        strong=[4],
    )
    text = Text("Both kernels of DeepLab, ten iterations, everything from picture to marginals.")
    fact = Fact(f"{min(ratios):.1f}x", "the speed recorded of pydensecrf, on one thread")
    return Section("Speed on this machine", [text, table]), fact
