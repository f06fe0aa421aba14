"""What a benchmark case is, and how its columns are timed against each other.

A case has columns: pyfast first, eager torch second, then other libraries where they do the same.
Every round times each column once, one after the other, so that a ratio compares neighbours in
time and a busy machine slows both of its sides. The result is the median of these ratios.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.results import Goal, Spread

# Overwritten between calls on a GPU so that no call finds its data in the cache; several times the
# largest L2 cache there is.
FLUSH_BYTES = 512 * 2**20
# Long enough that the host has queued a whole forward and backward before the GPU starts on it.
HEAD_START_CYCLES = 4_000_000
# Seconds from which on a call finds its caches cold anyway, and is not called once before.
LONG = 0.5
# Seconds for all rounds of a case, within which there are as many as were asked for.
PATIENCE = 12
FEWEST = 5


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Norm of the difference over norm of the exact result.

    A norm and not a maximum: a sample that rounding moves across a pixel's border has another
    slope, rightly, and a handful of those must not hide the rest.
    """
    return ((found.double() - exact).norm() / exact.norm()).item()


@dataclass(frozen=True)
class Column:
    """One library's way to do the case: `call` is what is timed."""

    call: Callable[[], Any]
    # Brings what `call` returns into the shape of the exact result, outside the timing.
    tensors: Callable[[Any], tuple[Tensor, ...]] = as_tuple
    # Error allowed before anything is timed, as `relative_error` gives it. This asks whether the
    # column does the same thing; how exactly it does it is asked in the tests.
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Prepared:
    """A case with its data made."""

    columns: dict[str, Column]
    exact: tuple[Tensor, ...]  # the result in float64
    # The case's bytes and operations, where only the data tell.
    work: tuple[int, int] | None = None

    def errors(self) -> dict[str, float]:
        """The error of each column, checked."""
        errors = {}
        for name, column in self.columns.items():
            found = column.tensors(column.call())
            errors[name] = max(
                relative_error(*pair) for pair in zip(found, self.exact, strict=True)
            )
            # Not `>`: NaN is wrong too.
            if not errors[name] <= column.tolerance:
                raise AssertionError(
                    f"{name} is wrong: error {errors[name]:.2g}, allowed {column.tolerance:.2g}"
                )
        return errors


@dataclass(frozen=True)
class Case:
    op: str
    shape: tuple[int, ...]  # of the input
    layout: str  # "nchw" or "channels_last"
    direction: str  # "forward", "forward+backward" or "gradient of ..."
    prepare: Callable[["Case", torch.device], Prepared]
    # Compulsory work: every input read once and every output written once a pass, and the
    # arithmetic of the formula. Any way to compute the case has at least this to do.
    bytes: int = 0
    flops: int = 0
    goals: tuple[Goal, ...] = field(default=())

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        layout = "" if self.layout == "nchw" else f"-{self.layout}"
        return f"{self.op}-{size}{layout}-{self.direction}"

    @property
    def backward(self) -> bool:
        return self.direction != "forward"


class Rounds:
    """Times the columns of a case in turns; the first column is timed by the caller.

    A round is `peers()`, then the caller's timing of `first()`.
    """

    def __init__(self, columns: dict[str, Column], device: torch.device, seconds: float) -> None:
        self.columns = columns
        self.synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
        # As many calls a timing as fill `seconds`, so that the clock's own cost vanishes.
        self.calls = dict.fromkeys(columns, 1)
        self.once = dict.fromkeys(columns, 0.0)
        for name in columns:
            self.once[name] = self.time(name)
            if self.once[name] < LONG:
                self.once[name] = min(self.once[name], self.time(name))
            self.calls[name] = min(1000, math.ceil(seconds / self.once[name]))
        self.seconds: dict[str, list[float]] = {name: [] for name in columns}

    def run(self, name: str) -> None:
        call = self.columns[name].call
        for _ in range(self.calls[name]):
            call()
        self.synchronize()

    def count(self, wanted: int) -> int:
        """How many rounds there is time for, out of those wanted."""
        once = sum(self.calls[name] * self.once[name] for name in self.columns)
        return min(wanted, max(FEWEST, int(PATIENCE / once)))

    def warm(self, name: str) -> None:
        """A call that is not timed: the caches hold another's data."""
        if self.once[name] < LONG:
            self.columns[name].call()
            self.synchronize()

    def time(self, name: str) -> float:
        """Seconds a call."""
        self.warm(name)
        start = time.perf_counter()
        self.run(name)
        return (time.perf_counter() - start) / self.calls[name]

    def peers(self) -> None:
        first, *others = self.columns
        for name in others:
            self.seconds[name].append(self.time(name))
        self.warm(first)

    def first(self) -> None:
        self.run(next(iter(self.columns)))


def spread(values: list[float]) -> Spread:
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(median=float(median), low=float(low), high=float(high))


def ratios(peer: list[float], ours: list[float]) -> Spread:
    """How many times faster ours is, round by round."""
    return spread([a / b for a, b in zip(peer, ours, strict=True)])


def device_seconds(call: Callable[[], Any], rounds: int) -> Spread:
    """Seconds on the GPU alone, caches cold: what is left when the launch costs nothing."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    seconds = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        torch.cuda._sleep(HEAD_START_CYCLES)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return spread(seconds)


@contextmanager
def quiet_interpreter() -> Iterator[None]:
    """No garbage collection inside a timing."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
