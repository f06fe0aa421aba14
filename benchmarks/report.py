"""Shows results: text at the end of a run, `docs/benchmarks.md`, the table in the README.

`python -m benchmarks.report` rewrites the last two from the JSON in `benchmarks/results/`.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from benchmarks.results import RESULTS, Figure, Goal, Row, Run, Spread, Timing

ROOT = Path(__file__).parent.parent
METHOD = Path(__file__).parent / "method.md"
HEADER = ["case", "pyfast", "peer", "ratio [quartiles]", "must / stretch", "verdict", "of floor"]
FIGURES = ["figure", "pyfast", "others", "must / stretch", "verdict"]
NAMES = {"torch": "torch", "opencv": "OpenCV"}


def duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
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
    """One line for each peer, or one alone; goals that concern no peer stand in the first."""

    def both_times(timing: Timing) -> str:
        on_device = timing.device_seconds
        return duration(timing.seconds.median) + (
            f" ({duration(on_device.median)})" if on_device else ""
        )

    lines = []
    share = f"{row.floor_share:.0%}" if row.floor_seconds else ""
    for peer in row.ratios or [None]:
        goals = [goal for goal in row.goals if goal.measure == peer]
        if not lines:
            goals += [goal for goal in row.goals if goal.measure in ("floor", "seconds")]
        lines.append(
            [
                row.case,
                both_times(row.ours),
                f"{NAMES.get(peer, peer)} {both_times(row.columns[peer])}" if peer else "",
                ratio(row.ratios[peer]) if peer else "",
                ", ".join(aim(goal) for goal in goals),
                ", ".join(row.verdict(goal) for goal in goals),
                share,
            ]
        )
    return lines


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


def crf_table(one: Run, two: Run | None) -> str:
    """The dense CRF against pydensecrf, on one thread and on two."""
    others = {row.case: row for row in two.rows} if two else {}

    def cell(row: Row | None) -> str:
        if row is None or "pydensecrf" not in row.ratios:
            return ""
        return f"**{row.ratios['pydensecrf'].median:.1f}** ({duration(row.ours.seconds.median)})"

    lines = []
    for row in one.rows:
        if row.op.startswith("dense_crf ") and "pydensecrf" in row.columns:
            _, labels, height, width = row.shape
            name = f"{width} × {height}, {labels} labels, {row.op.removeprefix('dense_crf ')}"
            peer = duration(row.columns["pydensecrf"].seconds.median)
            lines.append([name, peer, cell(row), *([cell(others.get(row.case))] if two else [])])
    m = one.machine
    header = ["`dense_crf`, ten iterations", "pydensecrf", "1 thread"] + ["2 threads"] * bool(two)
    return (
        f"{markdown_table(header, lines)}\n\n"
        f"{m.name} ({m.cpu}, {m.cpus} CPUs, {one.settings.capability}), commit {one.commit}, "
        f"{one.date}."
    )


def replace_between_markers(text: str, content: str, marker: str = "benchmarks") -> str:
    marked = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"no <!-- {marker} --> ... <!-- /{marker} --> to fill")
    return marked.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def stored_runs() -> list[Run]:
    return [Run.load(path) for path in sorted(RESULTS.glob("*/*.json"))]


def page(runs: list[Run]) -> str:
    """`docs/benchmarks.md`."""
    return "\n\n".join([METHOD.read_text().rstrip(), *map(section, runs)]) + "\n"


def main() -> None:
    runs = stored_runs()
    (ROOT / "docs/benchmarks.md").write_text(page(runs))
    # The readme has CPUs, as most readers can repeat that.
    newest = {
        run.file: run
        for run in sorted(runs, key=lambda run: run.date)
        if run.settings.device == "cpu"
    }
    readme = ROOT / "README.md"
    text = readme.read_text()
    if "sampling.json" in newest:
        text = replace_between_markers(text, readme_table(newest["sampling.json"]))
    if "dense_crf.json" in newest:
        table = crf_table(newest["dense_crf.json"], newest.get("dense_crf-2threads.json"))
        text = replace_between_markers(text, table, "benchmarks of dense_crf")
    readme.write_text(text)


if __name__ == "__main__":
    main()
