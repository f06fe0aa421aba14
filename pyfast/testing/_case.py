"""What the checks are about: cases, wrong calls, tolerances, errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

# How far a result may be from the reference in float64, relative to its largest entry or to 1.
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-11,
    torch.float32: 5e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 4e-2,
}


class BrokenPromiseError(AssertionError):
    """Says which case of which operator broke which promise, and how."""


@dataclass(frozen=True)
class BadCall:
    """A call that has to fail with a documented error."""

    what: str
    """What is wrong with it, for the report."""
    call: Callable[[], Any]
    """Makes the call."""
    error: type[Exception]
    """Type of the error."""
    match: str
    """Regular expression that is found in its text."""


@dataclass(frozen=True)
class OpCase:
    """One way to call an operator, and what it promises there.

    `inputs(batch, size)` gives all positional arguments: floating-point tensors in float64 on the
    CPU, which the checks cast and move, and anything else as it is. It draws from torch's global
    generator, which the checks seed. Points where the operator is not smooth are to be avoided.
    """

    op: str
    """Name of the operator, as its error messages say it."""
    name: str
    """Name of this case."""
    function: Callable[..., Any]
    """The public function: tensors and other arguments to a tensor or a tuple of tensors."""
    reference: Callable[..., Any]
    """The same in plain torch, differentiable, in float64 too."""
    inputs: Callable[[int, int], tuple[Any, ...]]
    """Positional arguments for a batch and a size."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments, the same for function and reference."""
    operators: tuple[str, ...] = ()
    """Operators of the dispatcher that a forward and a backward pass reach, as `library::name`."""
    differentiable: tuple[int, ...] = ()
    """Positions of the arguments that have a gradient."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)
    """What the operator computes in."""
    autocast: torch.dtype | None = torch.float32
    """What `torch.autocast` casts inputs to. None: it is not promised."""
    keeps_channels_last: tuple[int, ...] = ()
    """Positions of the arguments whose channels_last format the result takes over."""
    tiles: tuple[int, ...] = (8,)
    """Where the kernels' loops change their path, in units of `size`."""
    small: int = 3
    """Size for the checks that look at every entry of a derivative."""
    large: int = 64
    """Size at which the kernels use more than one thread."""
    second_order: bool = True
    """Whether there is a second derivative. If not, asking for one raises by name."""
    empty_batch: bool = True
    """Whether a batch of 0 is allowed."""
    native: bool = True
    """Whether there are kernels, one for each instruction set, behind it."""
    inductor: bool = False
    """Whether to compile with inductor too, which takes seconds: once for each operator."""
    unordered: tuple[str, ...] = ()
    """Types of device on which sums are taken in no fixed order, so that bits differ by run."""
    bad_calls: tuple[BadCall, ...] = ()
    """Calls that have to fail."""
    tolerances: Mapping[torch.dtype, float] = field(default_factory=dict)
    """What differs from `TOLERANCES`."""

    def __str__(self) -> str:
        return f"{self.op}[{self.name}]"

    def repeats_on(self, device: str) -> bool:
        """Whether two runs on a device give the same bits."""
        return torch.device(device).type not in self.unordered

    def tolerance(self, dtype: torch.dtype) -> float:
        """How far a result in `dtype` may be from the reference."""
        return self.tolerances.get(dtype, TOLERANCES[dtype])


class NotPromisedError(Exception):
    """Raised by a check for a case that does not make its promise, with the reason."""
