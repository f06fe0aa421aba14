"""Times two ways to do the same, in turns, so that a busy machine slows both."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from statistics import median

ROUNDS = 9
FEWEST_ROUNDS = 3  # where a call takes long


@dataclass(frozen=True)
class Comparison:
    ours: float  # seconds, median
    theirs: float
    ratio: float  # theirs / ours, median over the rounds


def compare(ours: Callable[[], object], theirs: Callable[[], object], seconds: float) -> Comparison:
    """Both in turns for about `seconds`, but three rounds at the least, of a call each or more."""

    def timed(call: Callable[[], object], calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    warm = [(timed(ours, 1), timed(theirs, 1)) for _ in range(2)][-1]
    count = min(ROUNDS, max(FEWEST_ROUNDS, ceil(seconds / sum(warm))))
    calls = [ceil(seconds / (2 * count) / one) for one in warm]
    rounds = [(timed(ours, calls[0]), timed(theirs, calls[1])) for _ in range(count)]
    return Comparison(
        ours=median(a for a, _ in rounds),
        theirs=median(b for _, b in rounds),
        ratio=median(b / a for a, b in rounds),
    )


def duration(seconds: float) -> str:
    """A time for people: 12.3 ms."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"
