"""What a paper promises, measured against the baseline that has to lose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pyfast._threads import one_thread
from pyfast.zoo.registry import create_model, find, list_models

FAST_SECONDS = 10.0


@dataclass(frozen=True)
class Measured:
    """One run: the model's number, and that of the baseline in the same setting."""

    value: float
    baseline: float


@dataclass(frozen=True)
class Claim:
    """A sentence about a model that a run can refute.

    Attributes:
        model: the name it is about.
        text: what is claimed, with the measure.
        measure: runs it for a seed.
        target: what the mean over the seeds must reach.
        margin: by how much it must beat the mean of the baseline: a dead model cannot pass.
        seeds: of the runs.
        seconds: about how long one run takes on one core.
        higher: whether more is better.
    """

    model: str
    text: str
    measure: Callable[[int], Measured]
    target: float
    margin: float
    seeds: tuple[int, ...]
    seconds: float
    higher: bool

    def judge(self, runs: Iterable[Measured]) -> bool:
        """Whether these runs bear the claim out."""
        runs = list(runs)
        sign = 1 if self.higher else -1
        value = sign * sum(run.value for run in runs) / len(runs)
        baseline = sign * sum(run.baseline for run in runs) / len(runs)
        return value >= sign * self.target and value >= baseline + self.margin

    def verify(self) -> Verdict:
        """Runs every seed."""
        start = time.perf_counter()
        runs = tuple(self.measure(seed) for seed in self.seeds)
        return Verdict(self, runs, self.judge(runs), time.perf_counter() - start)


@dataclass(frozen=True)
class Verdict:
    """What came out: the runs in the order of the claim's seeds, and all seconds together."""

    claim: Claim
    runs: tuple[Measured, ...]
    passed: bool
    seconds: float


def claim(
    model: str,
    text: str,
    *,
    target: float,
    margin: float,
    seconds: float,
    seeds: tuple[int, ...] = (0, 1, 2),
    higher: bool = True,
) -> Callable[[Callable[[int], Measured]], Callable[[int], Measured]]:
    """Adds a claim to a registered model; decorates the function that measures it for a seed.

    Raises:
        ValueError: no such model, no seeds, or a margin that is not positive.
    """
    if not seeds or margin <= 0:
        raise ValueError(f"claim: expected seeds and a positive margin, got {seeds} and {margin}")
    entry = find(model)

    def add(measure: Callable[[int], Measured]) -> Callable[[int], Measured]:
        entry.claims.append(Claim(model, text, measure, target, margin, seeds, seconds, higher))
        return measure

    return add


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator of the CPU seeded inside, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@cache
def trained(
    name: str, seed: int, *, prepare: Callable[[Any], object] | None = None, **overrides: Any
) -> Any:
    """A model that its recipe trained, on one thread of the CPU, in evaluation mode.

    Claims that look at the same run share it. The same seed gives the same weights.

    Args:
        name: of the model, with its form, as `create_model` takes it.
        seed: of its weights and of the run.
        prepare: called with the new model, such as to give it other weights.
        overrides: fields of its config.

    Raises:
        ImportError: a package of the extra `train` is missing; with the pip command.
    """
    from pyfast.train import Trainer

    with one_thread(), seeded(seed), TemporaryDirectory() as folder:
        model = create_model(name, **overrides)
        if prepare is not None:
            prepare(model)
        Trainer(model, folder, seed=seed, device="cpu").fit()
    return model.eval()


def claims_of(filter: str = "*", *, fast: bool = False) -> list[Claim]:
    """What models claim; arguments as of `verify`."""
    names = list_models(filter) or [find(filter).name]
    claims = [claim for name in names for claim in find(name).claims]
    return [claim for claim in claims if not fast or claim.seconds <= FAST_SECONDS]


def verify(filter: str = "*", *, fast: bool = False) -> list[Verdict]:
    """Measures what models claim.

    Args:
        filter: names of models, with wildcards.
        fast: leave out claims of which one run takes more than ten seconds.

    Raises:
        ValueError: no model has such a name.
    """
    return [claim.verify() for claim in claims_of(filter, fast=fast)]
