"""What PyMatting has and pyfast does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


class NotOfferedError(NotImplementedError):
    """A method of PyMatting was asked for that pyfast does not have."""


def not_offered(name: str, instead: str) -> Callable[..., NoReturn]:
    """A function called `name` that says what to use `instead` of it."""

    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotOfferedError(
            f"pyfast.compat.pymatting has no {name}: use {instead}, or PyMatting's own function"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Not offered: use {instead}."
    return function
