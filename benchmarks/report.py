"""Shows results: text at the end of a run, `docs/benchmarks.md`, the table in the README.

`python -m benchmarks.report` rewrites the last two from the JSON in `benchmarks/results/`.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from benchmarks.results import RESULTS, Figure, Goal, Row, Run, Spread

ROOT = Path(__file__).parent.parent
METHOD = Path(__file__).parent / "method.md"
HEADER = ["case", "pyfast", "peer", "ratio [quartiles]", "must / stretch", "verdict", "of floor"]
FIGURES = ["figure", "pyfast", "others", "must / stretch", "verdict"]
NAMES = {"torch": "torch", "opencv": "OpenCV"}


def duration(seconds: float) -> str:
    unit, scale = ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
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
    """One line for each peer; goals that concern no peer stand beside the first."""
    lines = []
    for peer, spread in row.ratios.items():
        goals = [goal for goal in row.goals if goal.measure == peer]
        if not lines:
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
                ", ".join(row.verdict(goal) for goal in goals),
                f"{row.floor_share:.0%}",
            ]
        )
    alone = [row.case, duration(row.ours.seconds.median), "", "", "", "", f"{row.floor_share:.0%}"]
    return lines or [alone]


def figure_cells(figure: Figure) -> list[str]:
    """One line; an absent bar is left empty."""
    bars = [bar for bar in (figure.must, figure.stretch) if bar is not None]
    sign = (">= " if figure.least else "<= ") if bars else ""
    return [
        f"{figure.case}, {figure.measure}",
        f"{figure.value:.3g}",
        ", ".join(f"{NAMES.get(peer, peer)} {value:.3g}" for peer, value in figure.peers.items()),
        sign + " / ".join(f"{bar:g}" for bar in bars),
        figure.verdict(),
    ]


def facts(run: Run) -> dict[str, str]:
    """Machine and settings, by heading."""
    m, s, floor = run.machine, run.settings, run.floor
    ceilings = ", ".join(f"{rate / 1e9:.0f} at {size / 2**20:g} MiB" for size, rate in floor.copy)
    allocator = " ".join(f"{key}={value}" for key, value in m.allocator.items() if value)
    return {
        "machine": f"{m.name} ({m.gpu}, CUDA {m.cuda})"
        if m.gpu
        else f"{m.name} ({m.cpu}, {m.cpus} CPUs)",
        "software": f"torch {m.torch}, Python {m.python}, "
        + (f"OpenCV {m.opencv}, " if m.opencv else "")
        + "".join(f"{name} {found}, " for name, found in m.libraries.items())
        + f"pyfast at commit {run.commit}, {run.date}",
        "settings": f"{s.threads} thread{'s' * (s.threads > 1)}, up to {s.rounds} rounds, "
        f"instruction sets: pyfast {s.capability}, torch {s.torch_capability}",
        "allocator": allocator or "as the system sets it",
        "floor": f"copy, GB/s read and written: {ceilings}; "
        f"float32 matrix product: {floor.flops / 1e9:.0f} GFLOP/s",
    }


def tally(run: Run) -> str:
    verdicts = [row.verdict(goal) for row in run.rows for goal in row.goals]
    verdicts += [figure.verdict() for figure in run.figures]
    counts = (f"{verdicts.count(kind)} {kind}" for kind in ("stretch", "met", "missed"))
    return f"Goals: {', '.join(counts)}."


def text(run: Run) -> str:
    parts = ["\n".join(f"{key}: {value}" for key, value in facts(run).items())]
    if run.rows:
        parts.append(aligned([HEADER, *(line for row in run.rows for line in cells(row))]))
    if run.figures:
        parts.append(aligned([FIGURES, *map(figure_cells, run.figures)]))
    return "\n\n".join([*parts, tally(run)])


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(header: list[str], lines: Iterable[list[str]]) -> str:
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def section(run: Run) -> str:
    """A run as a section of the documentation."""
    s = run.settings
    where = "" if s.device == "cuda" else f", {s.capability}, threads: {s.threads}"
    parts = [
        f"## {run.name.capitalize()} on {run.machine.name}{where}",
        "\n".join(f"- {key}: {value}" for key, value in facts(run).items()),
        tally(run),
    ]
    for op, rows in groupby(run.rows, lambda row: row.op):
        lines = [[line[0].removeprefix(f"{op}-"), *line[1:]] for row in rows for line in cells(row)]
        parts += [f"### `{op}`", markdown_table(HEADER, lines)]
    if run.figures:
        parts += ["### Figures", markdown_table(FIGURES, map(figure_cells, run.figures))]
    return "\n\n".join(parts)


def readme_table(run: Run) -> str:
    """The fused operator against torch, forward and forward+backward side by side."""

    def cell(row: Row) -> str:
        torch = row.columns["torch"].seconds.median
        ours = row.ours.seconds.median
        return f"**{row.ratios['torch'].median:.1f}** ({duration(torch)} → {duration(ours)})"

    rows = [row for row in run.rows if row.op == "affine_grid_sample"]
    lines = []
    for (shape, layout), pair in groupby(rows, lambda row: (row.shape, row.layout)):
        size = " × ".join(map(str, shape))
        lines.append([f"{size} {layout.replace('nchw', '')}".strip(), *map(cell, pair)])
    m = run.machine
    where = m.gpu or f"{m.cpu}, {m.cpus} CPUs, {run.settings.capability}"
    table = markdown_table(["`affine_grid_sample`", "forward", "forward + backward"], lines)
    return f"{table}\n\n{m.name} ({where}), torch {m.torch}, commit {run.commit}, {run.date}."


def replace_between_markers(text: str, content: str) -> str:
    marked = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
    if not marked.search(text):
        raise ValueError("no <!-- benchmarks --> ... <!-- /benchmarks --> to fill")
    return marked.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def stored_runs() -> list[Run]:
    return [Run.load(path) for path in sorted(RESULTS.glob("*/*.json"))]


def page(runs: list[Run]) -> str:
    """`docs/benchmarks.md`."""
    return "\n\n".join([METHOD.read_text().rstrip(), *map(section, runs)]) + "\n"


def main() -> None:
    runs = stored_runs()
    (ROOT / "docs/benchmarks.md").write_text(page(runs))
    # The readme has one thread of a CPU, as most readers can repeat that.
    plain = [run for run in runs if run.file == "sampling.json" and run.settings.device == "cpu"]
    if plain:
        readme = ROOT / "README.md"
        newest = max(plain, key=lambda run: run.date)
        readme.write_text(replace_between_markers(readme.read_text(), readme_table(newest)))


if __name__ == "__main__":
    main()
