"""What the heads made of several dilated convolutions have in common: how they are described."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import is_autocast_on
from pyfast.ops._checks import expect_tensor, shape_error


def same_padding(weight: Tensor, rate: int) -> tuple[int, int]:
    """What keeps the size of an input, above and to the left: (rows, columns)."""
    return rate * (weight.shape[2] - 1) // 2, rate * (weight.shape[3] - 1) // 2


def read_branches(
    op: str, input: Any, weights: Any, biases: Any, rates: Any, rate_name: str, chained: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...], tuple[int, ...]]:
    """Weights, biases and rates, as many of each; raises unless they fit together.

    Args:
        op: name of the function, for the texts.
        input: (N, C, H, W).
        weights: one for each convolution.
        biases: as many, each a tensor or None; or None for none at all.
        rates: as many integers.
        rate_name: the name of that argument.
        chained: whether each convolution takes what the one before gives, rather than the input.
    """
    expect_tensor(op, "input", input)
    if input.dim() != 4:
        raise shape_error(op, "input", "(N, C, H, W)", input)
    if not input.is_floating_point():
        raise TypeError(f"{op}: expected input of floats, got {input.dtype}")
    weights = _sequence(op, "weights", weights, None)
    if not weights:
        raise ValueError(f"{op}: expected at least one of weights, got none")
    biases = _sequence(op, "biases", biases, len(weights))
    rates = _sequence(op, rate_name, rates, len(weights))
    channels = input.shape[1]
    for i, (weight, bias, rate) in enumerate(zip(weights, biases, rates, strict=True)):
        _expect_weight(op, f"weights[{i}]", weight, channels, input)
        outputs = weight.shape[0]
        if bias is not None:
            expect_tensor(op, f"biases[{i}]", bias)
            if bias.shape != (outputs,):
                raise shape_error(op, f"biases[{i}]", f"({outputs},)", bias)
            _expect_like(op, f"biases[{i}]", bias, input)
        if isinstance(rate, bool) or not isinstance(rate, Integral):
            raise TypeError(f"{op}: expected {rate_name} to hold integers, got {rate!r}")
        if rate < 1:
            raise ValueError(f"{op}: expected {rate_name} to be positive, got {rate}")
        channels = outputs if chained else channels
    return weights, biases, tuple(map(int, rates))


def _sequence(op: str, name: str, values: Any, length: int | None) -> tuple[Any, ...]:
    if values is None and name == "biases" and length is not None:
        return (None,) * length
    # A tensor would be taken apart into its rows.
    if not isinstance(values, (Sequence, torch.nn.ParameterList)) or isinstance(values, str):
        raise TypeError(f"{op}: expected {name} to be a sequence, got {type(values).__name__}")
    if length is not None and len(values) != length:
        raise ValueError(f"{op}: expected {length} {name}, one for each weight, got {len(values)}")
    return tuple(values)


def _expect_weight(op: str, name: str, weight: Any, channels: int, input: Tensor) -> None:
    expect_tensor(op, name, weight)
    if weight.dim() != 4 or weight.shape[1] != channels:
        raise shape_error(op, name, f"(outputs, {channels}, kernel, kernel)", weight)
    if weight.shape[2] % 2 == 0 or weight.shape[3] % 2 == 0:
        raise ValueError(
            f"{op}: expected {name} with a kernel of odd sides, which has a centre, got "
            f"{tuple(weight.shape[2:])}"
        )
    _expect_like(op, name, weight, input)


def _expect_like(op: str, name: str, value: Tensor, input: Tensor) -> None:
    if value.device != input.device:
        raise ValueError(
            f"{op}: expected {name} on the device of input, {input.device}, got {value.device}"
        )
    if value.dtype != input.dtype and not is_autocast_on(input.device.type):
        raise TypeError(
            f"{op}: expected {name} of the dtype of input, {input.dtype}, got {value.dtype}"
        )
