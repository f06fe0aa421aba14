"""Checks that an operator keeps every promise that operators of this library make.

An `OpCase` describes one way to call an operator and its plain-torch reference; `check_op` holds
the operator to the promises in `PROMISES`, one after another.

Example:
    >>> import torch
    >>> from pyfast.testing import OpCase, check_op
    >>> case = OpCase(
    ...     op="exp",
    ...     name="plain",
    ...     function=torch.exp,
    ...     reference=lambda x: x.exp(),
    ...     inputs=lambda batch, size: (torch.randn(batch, size, dtype=torch.float64),),
    ...     differentiable=(0,),
    ... )
    >>> check_op(case, only=["reference", "gradcheck"])
    {'reference': 'kept', 'gradcheck': 'kept'}
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import torch

from pyfast._threads import one_thread
from pyfast.testing import _derivatives, _modes, _results, _robustness
from pyfast.testing._case import TOLERANCES, BadCall, BrokenPromiseError, NotPromisedError, OpCase

__all__ = [
    "PROMISES",
    "TOLERANCES",
    "BadCall",
    "BrokenPromiseError",
    "OpCase",
    "check_op",
    "checks",
    "devices",
    "promises",
]

PROMISES: dict[str, Callable[[OpCase, str], None]] = {
    "reference": _results.reference,
    "sizes": _results.sizes,
    "empty batch": _results.empty_batch,
    "layouts": _results.layouts,
    "gradcheck": _derivatives.gradcheck,
    "gradgradcheck": _derivatives.gradgradcheck,
    "create_graph": _derivatives.create_graph,
    "grad": _derivatives.func_grad,
    "vmap(grad)": _derivatives.vmap_grad,
    "jacrev": _derivatives.jacrev,
    "jvp": _derivatives.jvp,
    "opcheck": _modes.opcheck,
    "fake": _modes.fake,
    "compile": _modes.compiles,
    "export": _modes.exports,
    "vmap": _modes.vmap,
    "autocast": _modes.autocast,
    "bad calls": _robustness.bad_calls,
    "repeat": _robustness.repeats,
    "threads": _robustness.threads,
    "capabilities": _robustness.capabilities,
}
# About threads and instruction sets, and about wrong calls, which bring tensors of their own.
_OF_CPU = ("bad calls", "threads", "capabilities")


def devices() -> tuple[str, ...]:
    """Where operators can be checked here: the CPU, and a GPU that torch sees and pyfast is for."""
    from pyfast._native import _C

    return ("cpu", "cuda") if _C.with_cuda and torch.cuda.is_available() else ("cpu",)


def promises(device: str = "cpu") -> tuple[str, ...]:
    """Names out of `PROMISES`: those that there are on a device."""
    on_cpu = torch.device(device).type == "cpu"
    return tuple(name for name in PROMISES if on_cpu or name not in _OF_CPU)


def checks(
    cases: Iterable[OpCase], on: Collection[str] | None = None
) -> Iterator[tuple[OpCase, str, str]]:
    """Each promise of each case on each device: (case, promise, device), for a test to go through.

    Args:
        cases: what to check.
        on: devices, as torch names them. None: `devices()`.
    """
    where = devices() if on is None else on
    for case in cases:
        for device in where:
            for promise in promises(device):
                yield case, promise, device


def check_op(
    case: OpCase,
    *,
    only: Collection[str] | None = None,
    skip: Collection[str] = (),
    device: str = "cpu",
) -> dict[str, str]:
    """Holds one case of an operator to its promises.

    Args:
        case: what to check.
        only: names out of `promises(device)`. None: all of them.
        skip: names to leave out.
        device: where to check, as torch names it.

    Returns:
        For each promise "kept", or "not promised: " and the reason.

    Raises:
        BrokenPromiseError: at the first promise that is broken.
        ValueError: for a name that is not in `promises(device)`.
    """
    known = promises(device)
    unknown = sorted({*(only or ()), *skip} - set(known))
    if unknown:
        raise ValueError(
            f"check_op: no promise {', '.join(unknown)} on {device}; known: {', '.join(known)}"
        )
    report = {}
    with one_thread():
        for name in known:
            if name in skip or (only is not None and name not in only):
                continue
            try:
                PROMISES[name](case, device)
                report[name] = "kept"
            except NotPromisedError as reason:
                report[name] = f"not promised: {reason}"
            except Exception as error:
                raise BrokenPromiseError(f"{case}: {name}: {error}") from error
    return report
