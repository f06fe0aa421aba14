"""Which algorithm computes a dilated convolution, and the call of each.

The rules are a table, `conv_routes.json`, that `python -m benchmarks.conv_routes` measures and
writes: for each instruction set, class of shapes, memory layout and use, the algorithm that won.
Runs therefore repeat bit for bit. Classes that are not in the table are torch's, but for what its
library computes wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyfast._native import _C
from pyfast.ops._autograd import convolves_in_tf32, is_in_transform, is_in_vmap, multiplies_in_bf16
from pyfast.ops._checks import FLOATS, HALVES
from pyfast.ops._convolution import (
    Convolution,
    Geometry,
    can_depthwise,
    can_direct,
    can_implicit,
    can_widen,
    can_winograd,
    framed_bytes,
)
from pyfast.ops._depthwise_conv import depthwise_conv2d
from pyfast.ops._direct_conv import direct_conv2d
from pyfast.ops._implicit_conv import implicit_conv2d
from pyfast.ops._layouts import as_planes
from pyfast.ops._winograd_conv import winograd_conv2d


class Algorithm(NamedTuple):
    """What it takes, in words and as a test, and how it is called."""

    takes: str
    can: Callable[[Convolution], bool]
    convolve: Callable[[Convolution], Tensor]


def _torch(c: Convolution) -> Tensor:
    return F.conv2d(c.input, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)


def _other_layout(c: Convolution) -> Tensor:
    if is_in_vmap():  # where tensors know one format only
        return _torch(c)
    if c.is_channels_last:
        result = _torch(c._replace(input=as_planes(c.input)))
        return result.contiguous(memory_format=torch.channels_last)
    return as_planes(
        _torch(c._replace(input=c.input.contiguous(memory_format=torch.channels_last)))
    )


def _depthwise(c: Convolution) -> Tensor:
    input = c.input
    if c.multiplier > 1:
        # Side by side in memory, in either layout, and the same in all of a group.
        axis = 3 if c.is_channels_last else 1
        rows = input.permute(0, 2, 3, 1) if c.is_channels_last else input
        rows = rows.repeat_interleave(c.multiplier, axis)
        input = rows.permute(0, 3, 1, 2) if c.is_channels_last else rows
    return depthwise_conv2d(input, c.weight, c.bias, *c.padding, *c.dilation, *c.stride)


def _direct(c: Convolution) -> Tensor:
    return direct_conv2d(c.input, c.weight, c.bias, *c.padding, *c.dilation, False)


def _implicit(c: Convolution) -> Tensor:
    options = (list(c.stride), list(c.padding), list(c.dilation), c.groups)
    return implicit_conv2d(c.input, c.weight, c.bias, *options)


def _winograd(tile: int) -> Callable[[Convolution], Tensor]:
    return lambda c: winograd_conv2d(c.input, c.weight, c.bias, *c.padding, *c.dilation, tile=tile)


def _float32(c: Convolution) -> Tensor:
    bias = None if c.bias is None else c.bias.float()
    wide = c._replace(input=c.input.float(), weight=c.weight.float(), bias=bias)
    return convolve(wide, choose(wide)).to(c.input.dtype)


_3X3 = "no groups, a kernel of 3 x 3, stride 1, padding within the reach of the kernel"
ALGORITHMS = {
    "torch": Algorithm("any convolution", lambda c: True, _torch),
    "other_layout": Algorithm("any convolution", lambda c: True, _other_layout),
    "depthwise": Algorithm(
        "as many groups as channels, padding within the reach of the kernel; on the CPU float32 or "
        "float64; on CUDA as many outputs as channels, and stride 1",
        can_depthwise,
        _depthwise,
    ),
    "direct": Algorithm(
        "float32 or float64 on the CPU, no groups, stride 1, padding within the reach of the "
        "kernel",
        can_direct,
        _direct,
    ),
    "implicit": Algorithm("float32 on CUDA", can_implicit, _implicit),
    "winograd2": Algorithm(f"float32 or float64 on the CPU, {_3X3}", can_winograd, _winograd(2)),
    "winograd4": Algorithm(f"float32 or float64 on the CPU, {_3X3}", can_winograd, _winograd(4)),
    "float32": Algorithm("float16 or bfloat16 on the CPU", can_widen, _float32),
}


LESS_EXACT = ("winograd4",)  # than torch's: only where asked for

in_force: dict[str, str] = {}  # exact calls to algorithms that somebody has measured
_recordings: list[dict[str, Convolution]] = []


@contextmanager
def recorded(calls: dict[str, Convolution]) -> Iterator[None]:
    """Collects the convolutions that are chosen for in the meantime, by exact call."""
    _recordings.append(calls)
    try:
        yield
    finally:
        _recordings[:] = [others for others in _recordings if others is not calls]


def exact_key(c: Convolution) -> str:
    """All that the time of a call depends on."""
    shapes = (tuple(c.input.shape), tuple(c.weight.shape), c.bias is not None)
    where = LEVEL if c.is_on_cpu else torch.cuda.get_device_name(c.input.device)
    options = (c.stride, c.padding, c.dilation, c.groups, str(c.input.dtype)[6:])
    return " ".join(map(str, (*shapes, *options, layout_of(c), use_of(c), where)))


def convolve(c: Convolution, algorithm: str) -> Tensor:
    return ALGORITHMS[algorithm].convolve(c)


def choose(c: Convolution) -> str:
    """The algorithm that was measured for this very call, or that of the table for its class.

    On CUDA, where nothing has been timed yet, dilated depthwise convolutions are ours, since
    torch's own kernels take them slowly in halves, in channels_last and backward; and dilated
    convolutions in full float32, or under deterministic algorithms, where cuDNN's are slow.
    """
    if _recordings and not is_in_transform():  # whose tensors do not outlive it
        call = c if c.learns else _detached(c)
        for calls in _recordings:
            calls[exact_key(c)] = call
    if _may_err_in_torch(c):
        return "float32"
    exact = in_force and not torch.compiler.is_compiling()  # where sizes may vary
    measured = in_force.get(exact_key(c)) if exact else None
    if measured is not None and ALGORITHMS[measured].can(c):  # a file may say anything
        return measured
    if not c.is_on_cpu:
        if max(c.dilation) == 1:
            return "torch"
        if can_depthwise(c):
            return "depthwise"
        is_ours = not convolves_in_tf32() or torch.are_deterministic_algorithms_enabled()
        return "implicit" if can_implicit(c) and is_ours else "torch"
    name = shape_class(c)
    if name is None:
        return "torch"
    algorithm = _TABLE.get((name, layout_of(c), use_of(c)), "torch")
    if algorithm == "winograd2" and multiplies_in_bf16():
        return "torch"
    copies = algorithm == "other_layout" or (algorithm == "winograd2" and not c.is_channels_last)
    return "torch" if copies and _copied_bytes(c) > MOST_FRAMED else algorithm


def _copied_bytes(c: Convolution) -> int:
    """What input and output take, where they are copied into the other layout and back."""
    places = c.out_size[0] * c.out_size[1]
    outputs = c.input.shape[0] * c.weight.shape[0] * places
    return (c.input.numel() + outputs) * c.input.element_size()


def _may_err_in_torch(c: Convolution) -> bool:
    """Whether torch's result, or gradient of the weights, may be wrong: in bfloat16 on a processor
    with matrix instructions.

    The gradient where a convolution is depthwise, input or weight is in channels_last and taps lie
    beyond the border; the result where strides leave one column of it.
    """
    if not c.is_on_cpu or c.input.dtype != torch.bfloat16:
        return False
    if c.is_depthwise and c.multiplier == 1:
        return c.learns
    return c.stride[1] > 1 and c.kernel[1] > 1 and c.out_size[1] == 1


def _detached(c: Convolution) -> Convolution:
    """The same for somebody who times it later, maybe where gradients are enabled."""
    bias = None if c.bias is None else c.bias.detach()
    return c._replace(input=c.input.detach(), weight=c.weight.detach(), bias=bias)


def is_torchs(spatial: int, input: Any, weight: Any) -> bool:
    """Whether torch's is best without a look at the table.

    One tap without groups is a product of matrices; and a choice would take as long as a small
    convolution, some tens of microseconds. Not where somebody measures, or has measured, the very
    call, nor where torch may err.
    """
    if in_force or _recordings or not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        return False
    if not input.is_cpu or min(input.dim(), weight.dim()) <= spatial:
        return False
    if input.dtype == torch.bfloat16:
        return False
    channels, weights = input.shape[-1 - spatial], weight.numel()
    if weights == channels * weight.shape[0] and input.dtype in FLOATS:
        return True
    return input.numel() * weights < _FEWEST_PRODUCTS * channels


def remembered(signature: Hashable) -> tuple[str, Geometry] | None:
    """What was chosen for a call that looked the same, where choosing would take long."""
    return None if _recordings else _remembered.get(signature)


def remember(signature: Hashable, algorithm: str, geometry: Geometry) -> None:
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[signature] = algorithm, geometry


def put_in_force(routes: Mapping[str, str]) -> None:
    """Lets these exact calls take the algorithms that somebody has measured."""
    in_force.clear()
    in_force.update(routes)
    _remembered.clear()


def shape_class(c: Convolution) -> str | None:
    """The row of the table for this convolution; None where only torch's algorithms can do it."""
    if c.input.dtype in HALVES:
        kind = (
            f"depthwise, dilation {_bucket(max(c.dilation), 1, 7)}" if c.is_depthwise else "dense"
        )
        return f"{str(c.input.dtype)[6:]}, {kind}"
    if can_depthwise(c):
        if framed_bytes(c) > MOST_FRAMED and not c.is_channels_last:
            return None
        if c.multiplier > 1 and c.multiplier * c.input.nbytes > MOST_FRAMED:  # repeated by ours
            return None
        kind = "depthwise" if c.multiplier == 1 else "depthwise, several outputs a channel"
        kind = kind if c.stride == (1, 1) else f"{kind}, stride 2+"
        if c.input.dtype == torch.float64:
            return f"float64, {kind}"
        starts = (1, 2, 5, 7) if kind == "depthwise" else (1, 2)
        return f"{kind}, dilation {_bucket(max(c.dilation), *starts)}"
    if c.input.dtype != torch.float32:
        return None
    if c.groups > 1:
        return f"grouped, dilation {_bucket(max(c.dilation), 1, 2)}"
    if not can_direct(c) or c.kernel == (1, 1):
        return None
    dilation = f"dilation {_bucket(max(c.dilation), 1, 2)}"
    kind, most = ("signals", 64) if c.input.shape[2] == 1 else ("images", 32)
    if max(c.weight.shape[:2]) <= most:
        if framed_bytes(c) > MOST_FRAMED:
            return None
        # The library's kernels take channels by the eight.
        fit = (
            "in eights" if c.weight.shape[0] % 8 == c.weight.shape[1] % 8 == 0 else "not in eights"
        )
        channels = _bucket(max(c.weight.shape[:2]), 1, 33)
        if kind == "images":
            dilation = f"dilation {_bucket(max(c.dilation), 1, 2, 4)}"
        return f"{channels} channels, {fit}, {kind}, {dilation}"
    if not can_winograd(c):
        return None
    phase = min(n // d for n, d in zip(c.out_size, c.dilation, strict=True))
    if c.weight.numel() > MOST_WEIGHTS:
        return f"3x3, many weights, {dilation}, {_bucket(phase, 0, 4)} pixels a phase"
    channels = _bucket(min(c.weight.shape[:2]), 1, 32, 64, 128, 256)
    return f"3x3, {channels} channels, {dilation}, {_bucket(phase, 0, 6, 12, 24)} pixels a phase"


def layout_of(c: Convolution) -> str:
    return "channels_last" if c.is_channels_last else "contiguous"


def use_of(c: Convolution) -> str:
    return "training" if c.learns else "inference"


# Matrix instructions for halves come with their arithmetic, which changes what torch is fast at.
LEVEL = _C.cpu_capability()
if LEVEL == "avx512" and torch.cpu._is_amx_tile_supported():
    LEVEL = "avx512_amx"
_FEWEST_PRODUCTS = 2**20
_MOST_REMEMBERED = 4096
_remembered: dict[Hashable, tuple[str, Geometry]] = {}

# Weights transformed for tiles of 2 are 16 / 9 as many: with these they take 24 MB.
MOST_WEIGHTS = (24 << 20) // 4 * 9 // 16

# Bytes of what kernels of ours copy between frames of zeros: a plane for each thread where
# convolutions are depthwise, an image elsewhere; and of what is repeated, or copied into another
# layout, for an algorithm.
MOST_FRAMED = 24 << 20


def _bucket(value: int, *starts: int) -> str:
    """The range that value is in, of those that begin at `starts`; the last has no end."""
    at = max(i for i, start in enumerate(starts) if value >= start)
    if at == len(starts) - 1:
        return f"{starts[at]}+"
    last = starts[at + 1] - 1
    return str(last) if last == starts[at] else f"{starts[at]}-{last}"


_TABLE: dict[tuple[str, str, str], str] = {
    (route["class"], route["layout"], route["use"]): route["algorithm"]
    for route in json.loads(files("pyfast.ops").joinpath("conv_routes.json").read_text())["routes"]
    if route["level"] == LEVEL
}
