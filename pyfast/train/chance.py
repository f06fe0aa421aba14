"""The global generators of Python and NumPy, which losses may use."""

import random
from typing import Any

import numpy as np


def seed(number: int) -> None:
    """Seeds both."""
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002


def state() -> list[Any]:
    """The state of both, as numbers and words."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [random.getstate(), [name, np.asarray(keys).tolist(), *rest]]


def set_state(state: list[Any]) -> None:
    """Takes back what `state` gave."""
    version, keys, gauss = state[0]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(state[1]))  # noqa: NPY002
