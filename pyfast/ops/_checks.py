"""Checks that every operator makes of its arguments, and the form of what they say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from pyfast.ops._autograd import is_autocast_on

FLOATS = (torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)
LinAlgError = torch.linalg.LinAlgError  # type: ignore[attr-defined]
LARGEST_SIDE = 2**31 - 16  # of an output; indices are 32-bit integers in the kernels


def is_singular(largest: Any, largest_of_inverse: Any) -> Any:
    """Whether rounding alone keeps matrices of float64 from being singular.

    Args:
        largest: max |A|, a number or one for each matrix.
        largest_of_inverse: max |inv A| as it was computed.
    """
    return largest * largest_of_inverse > 1e14


def expect_tensor(op: str, name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a dense tensor."""
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided and not value.is_nested:
            return
        kind = "nested" if value.is_nested else str(value.layout)
        raise TypeError(f"{op}: expected {name} to be a dense torch.Tensor, got one that is {kind}")
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    hint = ""
    if hasattr(type(value), "__array__") or hasattr(type(value), "__dlpack__"):
        hint = "; for arrays there is pyfast._C, for a tensor torch.as_tensor"
    elif isinstance(value, torch.fx.Proxy):
        hint = "; torch.fx.symbolic_trace takes the call in a function under torch.fx.wrap"
    raise TypeError(f"{op}: expected {name} to be a torch.Tensor, got {kind}{hint}")


def expect_floats(op: str, *, half: bool = False, **tensors: torch.Tensor) -> None:
    """Raises unless all are on one device and share one of the dtypes that the kernels have.

    Under autocast dtypes below float64 may differ: the dispatcher casts them.

    Args:
        op: name of the function, for the text.
        half: whether the first may be float16 or bfloat16; the others then are that or float32.
        tensors: by the names of the arguments.
    """
    (first, leader), *_ = tensors.items()
    dtype, device = leader.dtype, leader.device
    known = (*HALVES, *FLOATS) if half else FLOATS
    for name, tensor in tensors.items():
        if tensor.device != device:
            raise ValueError(
                f"{op}: expected {name} on the device of {first}, {device}, got {tensor.device}"
            )
        if tensor.dtype in known and tensor.dtype == dtype:
            continue
        is_cast = tensor.is_floating_point() and tensor.dtype != torch.float64 != dtype
        if is_cast and is_autocast_on(device.type):
            continue
        if tensor.dtype not in known:
            names = [str(each).removeprefix("torch.") for each in known]
            wanted = f"{', '.join(names[:-1])} or {names[-1]}"
            raise TypeError(f"{op}: expected {name} of {wanted}, got {tensor.dtype}")
        if dtype in HALVES and tensor.dtype == torch.float32:
            continue
        wider = " or float32" if dtype in HALVES else ""
        raise TypeError(
            f"{op}: expected {name} of the dtype of {first}, {dtype}{wider}, got {tensor.dtype}"
        )


def expect_choice(op: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`; names the nearest of them."""
    if isinstance(value, str) and value in choices:
        return
    near = get_close_matches(value, choices) if isinstance(value, str) else []
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"{op}: expected {name} to be one of {', '.join(choices)}, got {value!r}{hint}"
    )


def expect_flag(op: str, name: str, value: Any) -> bool:
    """Raises TypeError unless `value` is True, False or None, which counts as False."""
    if value is None or value is False:
        return False
    if value is True or isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{op}: expected {name} to be True, False or None, got {value!r}")


def expect_count(op: str, name: str, value: Any) -> None:
    """Raises unless `value` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{op}: expected {name} to be positive, got {value}")


def expect_number(
    op: str,
    name: str,
    value: Any,
    *,
    whole: bool = False,
    least: float = -math.inf,
    above: float = -math.inf,
) -> None:
    """Raises unless `value` is a finite number (`whole`: an integer), as large as asked for."""
    kind, wanted = (Integral, "an integer") if whole else (Real, "a number")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
        raise TypeError(f"{op}: expected {name} to be {wanted}, got {value!r}")
    if not (least <= float(value) < math.inf and float(value) > above):
        bound = f"at least {least:g}" if least > -math.inf else f"above {above:g}"
        bound = bound if max(least, above) > -math.inf else "finite"
        raise ValueError(f"{op}: expected {name} to be {bound}, got {value}")


def expect_size(op: str, size: Any, ranks: Sequence[int] = (2, 4)) -> tuple[int, ...]:
    """(D,) H and W, positive, of the size of an output; raises unless its length is in `ranks`."""
    if not isinstance(size, Sequence) or isinstance(size, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: expected size to be a tuple of integers, got {size!r}")
    for length in size:
        if type(length) is int:
            continue
        if isinstance(length, bool) or not isinstance(length, (Integral, torch.SymInt)):
            raise TypeError(f"{op}: expected size to hold integers, got {length!r}")
    # Plain integers, which unlike NumPy's do not overflow.
    size = tuple(int(n) if isinstance(n, np.integer) else n for n in size)
    if len(size) not in ranks:
        forms = {2: "(H, W)", 3: "(D, H, W)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
        wanted = " or ".join(forms[rank] for rank in ranks)
        raise ValueError(f"{op}: expected size {wanted}, got {size}")
    if max(size) > LARGEST_SIDE or math.prod(size) > 2**48:
        raise ValueError(f"{op}: expected a size that memory can hold, got {size}")
    sides = size[2:] if len(size) > 3 else size
    if min(sides) <= 0:
        raise ValueError(f"{op}: expected positive sizes, got {size}")
    return sides


def shape_error(op: str, name: str, wanted: str, value: torch.Tensor) -> ValueError:
    """For the caller to raise."""
    return ValueError(f"{op}: expected {name} of shape {wanted}, got {tuple(value.shape)}")


# What torch's allocator, its stable ABI and our own glue say.
_WITHOUT_MEMORY = "can't allocate memory", "aoti_torch_empty", "a size that memory cannot hold"


def explained(
    op: str, error: Exception, check: Callable[..., None], *args: Any, **kwargs: Any
) -> Exception:
    """What `check` has to say about a call of `op` that ended with `error`, or else `error`."""
    if freed := re.search(r"a tensor has no memory[\w: ]*", str(error)):
        return ValueError(f"{op}: {freed[0]}")  # before somebody looks at its values
    try:
        check(*args, **kwargs)
    except (TypeError, ValueError) as explanation:
        return explanation
    if isinstance(error, (NotImplementedError, LinAlgError)):
        return type(error)(f"{op}: {error}")
    if without := re.search(r"a matrix has no inverse[\w ]*", str(error)):
        return LinAlgError(f"{op}: {without[0]}")
    if any(words in str(error) for words in _WITHOUT_MEMORY):
        return torch.OutOfMemoryError(f"{op}: there is no memory for a result of this size")
    return error
