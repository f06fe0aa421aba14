"""Measures, for the convolutions of a model, which algorithm is fastest on this machine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pyfast._files import atomic_write
from pyfast.ops._conv_routes import (
    ALGORITHMS,
    LESS_EXACT,
    convolve,
    put_in_force,
    recorded,
)
from pyfast.ops._convolution import Convolution


class Routes(dict[str, str]):
    """Algorithms of `pyfast.dilated_conv2d` by exact call: shapes, dtype, layout, use, processor.

    `pyfast.autotune` makes them. Calls that they do not name, and those under `torch.compile`,
    whose sizes may vary, take the table of the package.

    Example:
        >>> routes = Routes.load(path)  # doctest: +SKIP
        >>> routes.install()  # doctest: +SKIP
    """

    def install(self) -> None:
        """Puts them in force in this process, in place of those that were."""
        put_in_force(self)

    def save(self, path: str | Path) -> None:
        """Writes them as JSON, whole or not at all."""
        with atomic_write(path) as part:
            part.write_text(json.dumps(self, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Routes:
        """Reads what `save` wrote.

        Raises:
            ValueError: if the file is none of these, or names an unknown algorithm.
        """
        try:
            found = json.loads(Path(path).read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"Routes.load: expected JSON in {path}: {error}") from error
        if not isinstance(found, Mapping) or any(
            not isinstance(name, str) or name not in ALGORITHMS for name in found.values()
        ):
            raise ValueError(
                f"Routes.load: expected in {path} one of the algorithms {tuple(ALGORITHMS)} for "
                "each call"
            )
        return cls(found)


def autotune(
    model: Callable[..., Any],
    *inputs: Any,
    less_exact: bool = False,
    seconds: float = 0.2,
) -> Routes:
    """Times every algorithm for every dilated convolution of a model, and keeps the fastest.

    Runs the model once, times in turns what can compute each of its distinct calls of
    `pyfast.dilated_conv1d` and `dilated_conv2d` (forward and backward where a gradient is wanted),
    and puts the winners in force in this process. Nothing else is ever timed: without this call
    the choice follows a fixed table.

    Args:
        model: a module or any function that calls them, such as one of `pyfast.nn.DilatedConv2d`.
        inputs: what it is called with: of the sizes, dtype and layout of later use, under
            `torch.no_grad()` for inference.
        less_exact: whether algorithms take part that are less exact than torch's ("winograd4").
        seconds: of timing, for each call.

    Returns:
        The routes, to `save` and later `load` and `install`.

    Raises:
        ValueError: if the model calls no dilated convolution of pyfast.

    Example:
        >>> import torch, pyfast
        >>> layer = pyfast.nn.DilatedConv2d(8, 8, 3, padding=2, dilation=2)
        >>> with torch.no_grad():
        ...     routes = pyfast.autotune(layer, torch.rand(1, 8, 16, 16), seconds=0.01)
        >>> len(routes)
        1
    """
    calls: dict[str, Convolution] = {}
    with recorded(calls):
        model(*inputs)
    if not calls:
        raise ValueError(
            "autotune: expected a model that calls pyfast.dilated_conv1d or dilated_conv2d, "
            "got one that calls neither"
        )
    routes = Routes()
    for key, call in calls.items():
        times = medians(
            {
                name: timed_call(call, name)
                for name, algorithm in ALGORITHMS.items()
                if algorithm.can(call) and (less_exact or name not in LESS_EXACT)
            },
            seconds,
        )
        routes[key] = min(times, key=lambda name: times[name])
    routes.install()
    return routes


def timed_call(c: Convolution, algorithm: str) -> Callable[[], object]:
    """What is timed: the convolution, and its gradients where somebody wants them."""
    if not c.learns:
        return lambda: convolve(c, algorithm)
    leaves = {
        name: tensor.detach().requires_grad_()
        for name in ("input", "weight")
        if (tensor := getattr(c, name)).requires_grad
    }
    c = c._replace(**leaves)
    format = torch.channels_last if c.is_channels_last else torch.contiguous_format
    grad = torch.randn(c.input.shape[0], c.weight.shape[0], *c.out_size, device=c.input.device)
    grad = grad.to(c.input.dtype).contiguous(memory_format=format)
    return lambda: torch.autograd.grad(convolve(c, algorithm), list(leaves.values()), grad)


def medians(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Seconds of each call, taken in turns for that long, and three times at least."""
    wait: Callable[[], None] = torch.cuda.synchronize if torch.cuda.is_initialized() else _nothing
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        rounds += 1
        for name, call in calls.items():
            wait()
            start = time.perf_counter()
            call()
            wait()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def _nothing() -> None:
    pass
