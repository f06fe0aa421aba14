"""Checks that every operator makes of its arguments, and the form of what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pyfast.ops._autograd import is_autocast_on

FLOATS = (torch.float32, torch.float64)


def expect_tensor(op: str, name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a tensor."""
    if isinstance(value, torch.Tensor):
        return
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    hint = (
        "; for arrays there is pyfast._C, for a tensor torch.as_tensor"
        if hasattr(value, "__array__") or hasattr(value, "__dlpack__")
        else ""
    )
    raise TypeError(f"{op}: expected {name} to be a torch.Tensor, got {kind}{hint}")


def expect_floats(op: str, **tensors: torch.Tensor) -> None:
    """Raises unless all are on one device and share one of the dtypes that the kernels have.

    Under autocast dtypes below float64 may differ: the dispatcher casts them.
    """
    (first, leader), *_ = tensors.items()
    dtype, device = leader.dtype, leader.device
    for name, tensor in tensors.items():
        if tensor.device != device:
            raise ValueError(
                f"{op}: expected {name} on the device of {first}, {device}, got {tensor.device}"
            )
        if tensor.dtype in FLOATS and tensor.dtype == dtype:
            continue
        is_cast = tensor.is_floating_point() and tensor.dtype != torch.float64 != dtype
        if is_cast and is_autocast_on(device.type):
            continue
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{op}: expected {name} of float32 or float64, got {tensor.dtype}")
        raise TypeError(
            f"{op}: expected {name} of the dtype of {first}, {dtype}, got {tensor.dtype}"
        )


def expect_choice(op: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{op}: expected {name} to be one of {', '.join(choices)}, got {value!r}")


def shape_error(op: str, name: str, wanted: str, value: torch.Tensor) -> ValueError:
    """For the caller to raise."""
    return ValueError(f"{op}: expected {name} of shape {wanted}, got {tuple(value.shape)}")
