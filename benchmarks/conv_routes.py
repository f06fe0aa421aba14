"""Measures which algorithm wins for each class of convolutions and writes the table of routes:

    python -m benchmarks.conv_routes [--level avx2] [--out pyfast/ops/conv_routes.json]
    python -m benchmarks.conv_routes --show    # prints it and measures nothing

An algorithm takes a class from torch's where it is 10 % faster in the geometric mean of the shapes
of the class (30 % where there is but one) and slower for none, by medians of times taken in turns.
Routes of other instruction sets stay as they are.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import torch

from benchmarks.machine import cpu_facts, cpu_slug, environment
from pyfast.ops._conv_routes import (
    ALGORITHMS,
    LESS_EXACT,
    LEVEL,
    MOST_WEIGHTS,
    layout_of,
    shape_class,
    use_of,
)
from pyfast.ops._convolution import Convolution, convolution_of
from pyfast.tuning import medians, timed_call

TABLE = Path(__file__).parents[1] / "pyfast/ops/conv_routes.json"
CANDIDATES = [name for name in ALGORITHMS if name not in ("torch", *LESS_EXACT)]
MARGIN, MARGIN_OF_ONE = 1.1, 1.3

# batch, channels, outputs, height, width, kernel, dilation, groups, dtype, stride (1 where absent)
SHAPES = [
    *((n, c, c, side, side, 3, d, c, "float32") for d in (1, 2, 4, 6, 8, 12) for n, c, side in
      ((1, 256, 65), (4, 256, 65), (1, 960, 33))),
    *((1, c, c, side, side, k, d, c, dtype, 2) for dtype, c, side, k, d in (
        ("float32", 96, 112, 3, 1), ("float32", 240, 28, 5, 1), ("float32", 576, 14, 3, 1),
        ("float32", 256, 65, 3, 2), ("float32", 256, 65, 3, 4), ("float64", 96, 56, 3, 1),
        ("float64", 256, 33, 3, 2))),
    *((1, c, c * m, side, side, 3, d, c, "float32") for c, m, side, d in (
        (3, 8, 112, 1), (64, 2, 56, 1), (256, 4, 33, 1), (64, 2, 56, 2), (256, 2, 33, 4))),
    *((n, c, o, side, side, 3, d, 1, "float32") for d in (1, 2, 4) for n, c, o, side in (
        (1, 21, 21, 66), (4, 21, 21, 90), (1, 32, 32, 64), (1, 3, 16, 128), (1, 48, 48, 96),
        (1, 64, 64, 56), (1, 84, 84, 66), (1, 128, 128, 64), (1, 128, 128, 41), (1, 256, 256, 41),
        (4, 256, 256, 41), (1, 512, 512, 66))),
    *((n, c, o, side, side, 3, d, 1, "float32") for n, c, o, side, d in (
        (1, 336, 336, 66, 8), (1, 512, 512, 33, 2), (1, 512, 512, 33, 4), (1, 512, 256, 33, 12),
        (1, 128, 128, 41, 8), (1, 64, 64, 66, 8), (1, 256, 512, 33, 2), (1, 21, 21, 66, 16))),
    *((n, c, o, 1, t, k, d, 1, "float32") for n, c, o, t, k, d in (
        (32, 25, 25, 1000, 7, 8), (1, 16, 32, 16000, 2, 64), (1, 32, 32, 16000, 2, 512),
        (32, 25, 25, 1000, 7, 1), (1, 16, 32, 16000, 2, 1), (1, 24, 24, 16000, 2, 8),
        (8, 24, 24, 1000, 5, 1), (4, 20, 20, 2000, 7, 4), (4, 20, 20, 2000, 7, 1),
        (1, 24, 48, 6400, 2, 64), (1, 32, 64, 16000, 2, 512), (8, 64, 64, 1000, 3, 4),
        (1, 24, 48, 6400, 2, 1), (1, 32, 64, 16000, 2, 1), (8, 64, 64, 1000, 3, 1),
        (8, 50, 50, 1000, 7, 8), (1, 42, 42, 8000, 3, 2), (8, 50, 50, 1000, 7, 1),
        (1, 42, 42, 8000, 3, 1))),
    *((1, c, o, side, side, 3, d, 1, "float32") for c, o, side, d in (
        (2048, 256, 33, 12), (2048, 256, 33, 18), (2048, 256, 41, 18), (512, 1024, 41, 24),
        (2048, 256, 33, 6), (1024, 1024, 33, 2), (512, 1024, 41, 6))),
    *((n, 256, 256, 41, 41, 3, d, groups, "float32") for n, d, groups in (
        (1, 2, 32), (1, 4, 8), (4, 2, 32), (1, 1, 32), (4, 1, 8))),
    *((n, 256, 256, 65, 65, 3, d, 256, "float64") for n, d in ((1, 1), (1, 2), (1, 12))),
    *((n, c, c, side, side, 3, d, groups, dtype) for dtype in ("float16", "bfloat16")
      for n, c, side, d, groups in ((1, 64, 41, 2, 1), (1, 256, 41, 4, 1), (1, 256, 65, 2, 256),
                                  (1, 256, 65, 12, 256))),
    *((8, 512, 512, 1, 1000, 3, d, 512, dtype) for dtype in ("float16", "bfloat16")
      for d in (1, 16)),
]  # fmt: skip


def prepare(shape: tuple, layout: str, learns: bool) -> Convolution:
    batch, channels, outputs, height, width, kernel, dilation, groups, dtype, *stride = shape
    generator = torch.Generator().manual_seed(0)
    kind = {"dtype": getattr(torch, dtype)}
    format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    input = torch.randn(batch, channels, height, width, generator=generator).to(**kind)
    size = (1 if height == 1 else kernel, kernel)
    weight = torch.randn(outputs, channels // groups, *size, generator=generator).to(**kind)
    padding = [dilation * (k - 1) // 2 for k in size]
    input = input.contiguous(memory_format=format).requires_grad_(learns)
    weight.requires_grad_(learns)
    found = convolution_of(2, input, weight, None, *(stride or [1]), padding, dilation, groups)
    assert found is not None
    return found


def is_candidate(algorithm: str, c: Convolution) -> bool:
    """Not Winograd's where its weights would need more memory than a call may take."""
    fits = algorithm != "winograd2" or c.weight.numel() <= MOST_WEIGHTS
    return fits and ALGORITHMS[algorithm].can(c)


def measure(seconds: float, only: str) -> dict[tuple[str, str, str], list[dict[str, float]]]:
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for shape in SHAPES:
        for layout in ("contiguous", "channels_last"):
            for learns in (False, True):
                c = prepare(shape, layout, learns)
                name = shape_class(c)
                if name is None or only not in name:
                    continue
                if layout_of(c) != layout:  # of one row
                    continue
                names = ["torch", *(a for a in CANDIDATES if is_candidate(a, c))]
                times = medians({a: timed_call(c, a) for a in names}, seconds)
                print(*shape, layout, use_of(c), name, {a: f"{t:.3g}" for a, t in times.items()},
                      sep=" | ", flush=True)  # fmt: skip
                found.setdefault((name, layout, use_of(c)), []).append(times)
    return found


def winner(times: list[dict[str, float]]) -> tuple[str, float]:
    """The algorithm for a class, and its mean gain over torch's."""
    gains = {
        name: [each["torch"] / each[name] for each in times]
        for name in set.intersection(*map(set, times))
    }
    means = {name: statistics.geometric_mean(g) for name, g in gains.items() if min(g) >= 1}
    best = max(means, key=lambda name: means[name])
    margin = MARGIN if len(times) > 1 else MARGIN_OF_ONE
    return (best, means[best]) if means[best] >= margin else ("torch", 1.0)


def as_text(routes: list[dict], level: str) -> str:
    """The routes of one instruction set, a class a line: what the four kinds of calls take."""
    kinds = [(f, use) for f in ("contiguous", "channels_last") for use in ("inference", "training")]
    found: dict[str, dict[tuple[str, str], str]] = {}
    for r in routes:
        if r["level"] == level:
            cell = f"{r['algorithm']} {r['gain']:.1f}x"
            found.setdefault(r["class"], {})[r["layout"], r["use"]] = cell
    rows = [["class", *(f"{layout}, {use}" for layout, use in kinds)]]
    rows += [[name, *(of.get(kind, "torch") for kind in kinds)] for name, of in found.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([f"{level}: algorithm, and how many times faster than torch's", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", help="instruction set of ours; default: the best one")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each shape")
    parser.add_argument("--only", default="", help="classes with this in their name")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--show", action="store_true", help="print the table, measure nothing")
    args = parser.parse_args()
    if args.show:
        kept = json.loads(args.out.read_text())["routes"]
        levels = [args.level] if args.level else sorted({route["level"] for route in kept})
        print("\n\n".join(as_text(kept, level) for level in levels))
        return 0
    wanted = environment(1, args.level)
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        command = [sys.executable, "-m", "benchmarks.conv_routes", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | wanted)
    measured = measure(args.seconds, args.only)
    routes = [
        r
        for r in json.loads(args.out.read_text())["routes"]
        if r["level"] != LEVEL or args.only not in r["class"]
    ]
    for (name, layout, use), times in measured.items():
        algorithm, gain = winner(times)
        if algorithm != "torch":
            routes.append({"level": LEVEL, "class": name, "layout": layout, "use": use,
                           "algorithm": algorithm, "gain": round(gain, 2),
                           "machine": cpu_slug(cpu_facts())})  # fmt: skip
    routes.sort(key=lambda r: (r["level"], r["class"], r["layout"], r["use"]))
    lines = ",\n".join(json.dumps(route) for route in routes)
    args.out.write_text(f'{{"routes": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
