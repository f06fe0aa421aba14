"""Networks in another precision than that of the losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def in_precision(network: nn.Module, precision: Any) -> Iterator[None]:
    """Lets the forward pass of a network compute in a precision; it takes and gives float32.

    The network stays the object that it is: it can be indexed, and its methods be called.

    Args:
        network: a child of a system.
        precision: a plugin of Fabric.
    """
    if precision.precision == "32-true":
        yield
        return
    precision.convert_module(network)
    inner = network.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = precision.convert_input((args, kwargs))
        with precision.forward_context():
            output = inner(*args, **kwargs)
        return precision.convert_output(output)

    network.forward = forward
    try:
        yield
    finally:
        del network.forward


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """The children that have a forward pass: those of a list count, the list does not."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from networks(child)
        else:
            yield child
