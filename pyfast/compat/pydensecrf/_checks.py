"""What every function of this interface asks of its arguments, and how it says what is wrong."""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyfast.compat.pydensecrf.eigen import is_real

_Choice = TypeVar("_Choice", bound=int)


def error(function: str, name: str, wanted: str, got: object) -> ValueError:
    """For the caller to raise."""
    return ValueError(f"{function}: expected {name} {wanted}, got {got}")


def real_array(function: str, name: str, value: Any) -> NDArray[Any]:
    """`value` as an array, which may be the very one; raises TypeError unless its numbers are."""
    array = np.asarray(value)
    if not is_real(array):
        raise TypeError(f"{function}: expected {name} to hold real numbers, got {array.dtype}")
    return array


def finite_array(function: str, name: str, value: Any) -> NDArray[Any]:
    """As `real_array`; raises ValueError where one is NaN or infinite."""
    array = real_array(function, name, value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise error(function, name, "to be finite", f"{first_of(array, ~np.isfinite(array))}")
    return array


def first_of(array: NDArray[Any], wrong: NDArray[np.bool_]) -> str:
    """The first element that is wrong, and where it is."""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    return f"{array[place]} at {list(place)}"


def whole(function: str, name: str, value: Any, least: int) -> int:
    """`value` as an integer; whole floats such as 480 / 2 count as one.

    Raises:
        TypeError: it is no number.
        ValueError: it is not whole, or less than `least`.
    """
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{function}: expected {name} to be an integer, got {value!r}")
    if not (math.isfinite(value) and value == int(value)):
        raise error(function, name, "to be whole", value)
    if value < least:
        raise error(function, name, f"of at least {least}", value)
    return int(value)


def real(function: str, name: str, value: Any) -> float:
    """`value`, a number or an array of one, as a float; raises TypeError where it is neither."""
    array = real_array(function, name, value)
    if array.size != 1:
        raise TypeError(f"{function}: expected {name} to be a number, got {value!r}")
    return float(array.item())


def scales(function: str, name: str, value: Any, count: int) -> tuple[float, ...]:
    """`count` positive numbers: one for all, or one for each; what comes after them is ignored.

    Raises:
        TypeError: these are no numbers.
        ValueError: there are fewer, or one is not positive and finite.
    """
    array = real_array(function, name, value)
    if array.ndim > 1 or (array.ndim == 1 and len(array) < count):
        raise error(
            function, name, f"to be a number or {count} of them", f"the shape {array.shape}"
        )
    found = (float(array),) * count if array.ndim == 0 else tuple(map(float, array[:count]))
    # A float32 feature is a coordinate divided by this.
    range = np.finfo(np.float32)
    if not all(float(range.tiny) <= scale < math.inf for scale in found):
        raise error(function, name, "to be positive and finite", value)
    return tuple(min(scale, float(range.max)) for scale in found)


def choice(function: str, name: str, value: Any, choices: type[_Choice]) -> _Choice:
    """`value` as a member of an enumeration; raises TypeError or ValueError."""
    number = whole(function, name, value, 0)
    known = {int(each): each for each in choices}  # type: ignore[attr-defined]
    if number not in known:
        wanted = ", ".join(f"{int(each)} ({each.name})" for each in known.values())
        raise error(function, name, f"to be one of {wanted}", value)
    return known[number]
