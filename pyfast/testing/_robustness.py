"""Promises about wrong calls, repetition, threads and instruction sets."""

from __future__ import annotations

import itertools
import re

import torch

from pyfast.testing._case import NotPromisedError, OpCase
from pyfast.testing._tools import (
    assert_same_bits,
    compare,
    draw,
    edges,
    evaluate,
    function_of,
)


def bad_calls(case: OpCase, device: str) -> None:
    """Wrong calls fail with the documented error."""
    if not case.bad_calls:
        raise NotPromisedError("the case lists none")
    for bad in case.bad_calls:
        try:
            bad.call()
        except Exception as error:
            if not isinstance(error, bad.error) or not re.search(bad.match, str(error)):
                raise AssertionError(
                    f"{bad.what}: expected {bad.error.__name__} with {bad.match!r}, got {error!r}"
                ) from error
        else:
            raise AssertionError(f"{bad.what}: accepted")


def repeats(case: OpCase, device: str) -> None:
    """Two runs give the same bits."""
    if not case.repeats_on(device):
        raise NotPromisedError(f"on {device} sums are taken in no fixed order")
    arguments = draw(case, device, case.dtypes[0], size=case.large)
    first, second = (evaluate(case, function_of(case), arguments) for _ in range(2))
    assert_same_bits(second, first, "second run")


def threads(case: OpCase, device: str) -> None:
    """One thread and two give the same bits."""
    arguments = draw(case, device, case.dtypes[0], size=case.large)
    results = []
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(evaluate(case, function_of(case), arguments))
    finally:
        torch.set_num_threads(before)
    assert_same_bits(results[1], results[0], "two threads")


def capabilities(case: OpCase, device: str) -> None:
    """The kernels of every instruction set agree at every tile edge, with and without gathers."""
    if not case.native:
        raise NotPromisedError("there are no kernels for instruction sets")
    from pyfast._native import _C

    before, gathers = _C.cpu_capability(), _C.gathers()
    first, *others = _C.cpu_capabilities()
    try:
        for size in (*edges(case), case.large):
            arguments = draw(case, device, case.dtypes[0], size=size)
            _C.set_cpu_capability(first)
            expected = evaluate(case, function_of(case), arguments)
            for name, use in itertools.product(others, (False, True)):
                _C.set_cpu_capability(name)
                _C.set_gathers(use)
                result = evaluate(case, function_of(case), arguments)
                what = f"{name}{' with gathers' if use else ''} and {first}, size {size}"
                compare(case, result, expected, what)
    finally:
        _C.set_cpu_capability(before)
        _C.set_gathers(gathers)
