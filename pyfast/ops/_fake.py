"""What an operator returns where there is no data: shapes and dtypes, for compile and export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Fake = TypeVar("Fake", bound=Callable[..., Any])


def register_fake(op: str | torch._ops.OpOverload) -> Callable[[Fake], Fake]:
    """A decorator, `torch.library.register_fake(op)` called from this one file.

    torch looks up the source of each caller among all loaded modules: about 3 ms of the import of
    this package for every file that calls it.
    """

    def register(fake: Fake) -> Fake:
        torch.library.register_fake(op, fake)
        return fake

    return register
