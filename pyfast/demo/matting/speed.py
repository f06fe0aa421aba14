"""How long mattes take on this machine, beside PyMatting's recorded times."""

from __future__ import annotations

import time
from typing import NamedTuple

from rich.console import Console

import pyfast
from pyfast.data import matte_scene
from pyfast.demo.page import Fact, Section, Table, Text
from pyfast.demo.timing import duration


class Case(NamedTuple):
    marks: str  # of a scene: "trimap" or "scribbles"
    size: tuple[int, int]
    recorded: float  # seconds of PyMatting 1.1.16, `estimate_alpha_cf`


# Recorded on two cores of an AMD EPYC, on scenes of this kind. At 4 MP and more its strokes fail:
# the incomplete factors outgrow their limit.
CASES = (
    Case("trimap", (433, 577), 1.1),
    Case("scribbles", (433, 577), 19.0),
    Case("trimap", (866, 1155), 8.5),
    Case("trimap", (1732, 2309), 55.0),
)


def section(console: Console) -> tuple[Section, list[Fact]]:
    """Times every case once: the longest takes seconds."""
    console.print("\n[bold]Time[/]: mattes from 0.25 to 4 megapixels")
    rows, facts = [], []
    for case in CASES:
        scene = matte_scene(*case.size)
        marks = getattr(scene, case.marks)
        start = time.perf_counter()
        _, info = pyfast.estimate_alpha(scene.image, marks, return_info=True)
        seconds = time.perf_counter() - start
        megapixels = case.size[0] * case.size[1] / 1e6
        unknown = (marks == 0.5).float().mean().item()
        name = f"{megapixels:.2g} MP, {'strokes' if case.marks == 'scribbles' else 'trimap'}"
        rows.append(
            [
                name,
                f"{unknown:.0%}",
                f"{info.iterations}",
                duration(seconds),
                duration(case.recorded),
                f"{case.recorded / seconds:.1f}x",
            ]
        )
        console.print(f"  {name:20} {duration(seconds)}, {info.iterations} iterations")
        facts.append(Fact(duration(seconds), f"for a matte: {name}"))
    table = Table(
        header=("picture", "unknown", "iterations", "pyfast", "PyMatting, recorded", "ratio"),
        rows=rows,
        caption="One call each, now, on this machine. PyMatting's times were recorded on two cores "
        "of an AMD EPYC and are not of this machine: `python -m benchmarks matting` runs both.",
        strong=(3,),
    )
    text = Text(
        "The solver is conjugate gradients over the unknown pixels, and its multigrid carries what "
        "the Laplacian hardly sees: functions that are affine in colour. So the number of "
        "iterations hardly grows with the picture, and nothing is factorised."
    )
    return Section("Time on this machine", [text, table]), [facts[1], facts[-1]]
