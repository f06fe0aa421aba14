"""Promises about results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pyfast.testing._case import NotPromisedError, OpCase
from pyfast.testing._tools import (
    Function,
    channels_last,
    compare,
    compare_with_reference,
    draw,
    edges,
    evaluate,
    function_of,
    replace,
    weights,
)


def reference(case: OpCase, device: str) -> None:
    """Results and gradients equal those of the reference in float64."""
    for dtype in case.dtypes:
        compare_with_reference(case, device, dtype, str(dtype))


def sizes(case: OpCase, device: str) -> None:
    """The same at size 1, at every edge of a tile and at the primes around it."""
    for size in edges(case):
        compare_with_reference(case, device, case.dtypes[0], f"size {size}", size=size)


def empty_batch(case: OpCase, device: str) -> None:
    """A batch of 0 gives empty results of the right shape, and gradients."""
    if not case.empty_batch:
        raise NotPromisedError("a batch of 0 is not allowed")
    compare_with_reference(case, device, case.dtypes[0], "batch 0", batch=0)


def layouts(case: OpCase, device: str) -> None:
    """Strides of arguments and of incoming gradients change nothing."""
    arguments = draw(case, device, case.dtypes[0])
    function = function_of(case)
    for i, argument in enumerate(arguments):
        if not isinstance(argument, Tensor):
            continue
        for layout, change in _LAYOUTS.items():
            changed = change(argument)
            actual = evaluate(case, function, replace(arguments, {i: changed}))
            plain = replace(arguments, {i: changed.contiguous().clone()})
            what = f"argument {i} {layout}"
            compare(case, actual, evaluate(case, function, plain), what)
    for layout, change in _LAYOUTS.items() if case.differentiable else ():
        actual = evaluate(case, function, arguments, _incoming(change))
        plain_gradient = _incoming(lambda g, change=change: change(g).contiguous().clone())
        expected = evaluate(case, function, arguments, plain_gradient)
        compare(case, actual, expected, f"incoming gradient {layout}")
    _assert_keeps_channels_last(case, arguments)


def _incoming(change: Function) -> Function:
    """A gradient for a result, with its layout changed."""
    return lambda result: change(weights(result))


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1) if tensor.dim() > 1 else tensor


def _strided(tensor: Tensor) -> Tensor:
    """Every third element of a larger tensor, starting at its second."""
    wide = tensor.new_zeros((*tensor.shape, 3))
    wide[..., 1] = tensor
    return wide[..., 1]


def _offset(tensor: Tensor) -> Tensor:
    """Contiguous, but aligned to one element only."""
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)


def _expanded(dim: int) -> Callable[[Tensor], Tensor]:
    """Stride 0 in one dimension; the values change with it."""

    def expand(tensor: Tensor) -> Tensor:
        return tensor.narrow(dim, 0, 1).expand_as(tensor) if tensor.dim() > dim else tensor

    return expand


_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": _transposed,
    "strided": _strided,
    "offset": _offset,
    "expanded in dimension 0": _expanded(0),
    "expanded in dimension 1": _expanded(1),
    "channels_last": channels_last,
}


def _assert_keeps_channels_last(case: OpCase, arguments: Sequence[Any]) -> None:
    for i in case.keeps_channels_last:
        changed = replace(arguments, {i: channels_last(arguments[i])})
        for result in tree_leaves(function_of(case)(*changed)):
            if result.stride() != channels_last(result).stride():
                raise AssertionError(
                    f"argument {i} is channels_last, the result has strides {result.stride()}"
                )
