"""Shows results: text at the end of a run, `docs/benchmarks.md`, the table in the README.

`python -m benchmarks.report` rewrites the last two from the JSON in `benchmarks/results/`.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.results import RESULTS, Goal, Row, Run, Spread

ROOT = Path(__file__).parent.parent
HEADER = ["case", "ours", "peer", "ratio [quartiles]", "must / stretch", "verdict", "floor"]
NAMES = {"torch": "torch", "opencv": "OpenCV"}


def duration(seconds: float) -> str:
    unit, scale = ("ms", 1e3) if seconds >= 1e-3 else ("us", 1e6)
    return f"{seconds * scale:.3g} {unit}"


def ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} [{spread.low:.2f} {spread.high:.2f}]"


def aim(goal: Goal) -> str:
    def show(value: float) -> str:
        if goal.measure == "seconds":
            return f"<= {duration(value)}"
        return f"{value:.0%} of floor" if goal.measure == "floor" else f"{value:g}"

    return show(goal.must) + (f" / {show(goal.stretch)}" if goal.stretch else "")


def cells(row: Row) -> list[list[str]]:
    """One line for each peer; goals that concern no other peer stand beside torch."""
    lines = []
    for peer, spread in row.ratios.items():
        goals = [goal for goal in row.goals if goal.measure == peer]
        if peer == "torch":
            goals += [goal for goal in row.goals if goal.measure in ("floor", "seconds")]
        timings = [row.ours, row.columns[peer]]
        ours, theirs = (
            duration(t.seconds.median)
            + (f" ({duration(t.device_seconds.median)})" if t.device_seconds else "")
            for t in timings
        )
        lines.append(
            [
                row.case,
                ours,
                f"{NAMES.get(peer, peer)} {theirs}",
                ratio(spread),
                ", ".join(aim(goal) for goal in goals),
                ", ".join(goal.verdict(row.value(goal)) for goal in goals),
                f"{row.floor_share:.0%}",
            ]
        )
    return lines


def summary(run: Run) -> str:
    """The machine and the settings, in one sentence each."""
    m, s = run.machine, run.settings
    where = f"{m.gpu}, CUDA {m.cuda}" if m.gpu else f"{m.cpu}, {m.cpus} CPUs"
    libraries = f"torch {m.torch}" + (f", OpenCV {m.opencv}" if m.opencv else "")
    allocator = " ".join(f"{key}={value}" for key, value in m.allocator.items() if value)
    sets = f"pyfast {s.capability}, torch {s.torch_capability}"
    ceilings = ", ".join(f"{size / 2**20:g} MiB {rate / 1e9:.0f}" for size, rate in run.floor.copy)
    return (
        f"{m.name} ({where}), {libraries}, Python {m.python}, commit {run.commit}, {run.date}.\n"
        f"Threads {s.threads}, instruction sets: {sets}; {s.rounds} rounds; "
        f"allocator: {allocator or 'as the system sets it'}.\n"
        f"Floor: copy in GB/s by bytes read and written: {ceilings}; "
        f"float32 matrix product {run.floor.flops / 1e9:.0f} GFLOP/s."
    )


def tally(rows: Iterable[Row]) -> str:
    verdicts = [
        goal.verdict(value)
        for row in rows
        for goal in row.goals
        if (value := row.value(goal)) is not None
    ]
    counts = (f"{verdicts.count(kind)} {kind}" for kind in ("stretch", "met", "missed"))
    return f"Goals: {', '.join(counts)}."


def text(run: Run) -> str:
    lines = [HEADER, *(line for row in run.rows for line in cells(row))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return f"{summary(run)}\n\n{table}\n\n{tally(run.rows)}"


def markdown_table(header: list[str], lines: Iterable[list[str]]) -> str:
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])
