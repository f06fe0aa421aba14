"""Memory of convolutions and heads, forward and backward, beyond results and gradients.

Measured in the process that makes the calls: prints JSON, bytes by case and library.

python -m benchmarks.ops.conv_memory [CASES]
"""

import ctypes
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.memory import peak_of
from pyfast.ops.aspp import aspp_concat_reference, aspp_sum_reference
from pyfast.ops.context_module import context_module_reference

LAST = torch.channels_last
MOST = 48 << 20  # bytes beyond results and gradients


class Call(NamedTuple):
    shapes: list[tuple[int, ...]]  # of input and weights
    ours: Callable[..., Tensor]
    torchs: Callable[..., Tensor]
    dtype: torch.dtype = torch.float32
    format: torch.memory_format = torch.contiguous_format


def layer(
    batch: int, channels: int, side: int, dilation: int, groups: int = 1, **options: Any
) -> Call:
    shapes = [(batch, channels, side, side), (channels, channels // groups, 3, 3)]
    kind = {"padding": dilation, "dilation": dilation, "groups": groups}
    ours = partial(pyfast.dilated_conv2d, algorithm=options.pop("algorithm", None), **kind)
    return Call(shapes, ours, partial(F.conv2d, **kind), **options)


def outputs_a_channel(count: int, channels: int, side: int) -> Call:
    kind = {"padding": 2, "dilation": 2, "groups": channels}
    shapes = [(1, channels, side, side), (count * channels, 1, 3, 3)]
    return Call(shapes, partial(pyfast.dilated_conv2d, **kind), partial(F.conv2d, **kind))


def head(function: Callable[..., Tensor], rates: tuple[int, ...], *more: Any) -> Any:
    return lambda input, *weights: function(input, weights, None, rates, *more)


SUM, CONCAT, CONTEXT = (6, 12, 18, 24), (6, 12, 18), (1, 1, 2, 4, 8, 16, 1)
CALLS = {
    "depthwise-d12-4x256x65x65": layer(4, 256, 65, 12, 256),
    "depthwise-d12-4x256x65x65-channels_last": layer(4, 256, 65, 12, 256, format=LAST),
    "depthwise-d2-float64-1x256x65x65": layer(1, 256, 65, 2, 256, dtype=torch.float64),
    "depthwise-d2-2-outputs-1x64x400x400": outputs_a_channel(2, 64, 400),
    "few-d4-4x21x90x90": layer(4, 21, 90, 4),
    "dense-d2-4x256x41x41": layer(4, 256, 41, 2),
    "dense-d2-1x512x66x66-channels_last": layer(1, 512, 66, 2, format=LAST),
    "dense-d2-winograd2-1x512x66x66": layer(1, 512, 66, 2, algorithm="winograd2"),
    "dense-d2-winograd4-1x512x66x66": layer(1, 512, 66, 2, algorithm="winograd4"),
    "dense-d2-float16-1x256x41x41": layer(1, 256, 41, 2, dtype=torch.float16),
    "aspp_sum-1x2048x65x65": Call(
        [(1, 2048, 65, 65), *4 * [(21, 2048, 3, 3)]],
        head(pyfast.aspp_sum, SUM),
        head(aspp_sum_reference, SUM),
    ),
    "aspp_concat-1x2048x33x33": Call(
        [(1, 2048, 33, 33), *3 * [(256, 2048, 3, 3)]],
        head(pyfast.aspp_concat, CONCAT),
        head(aspp_concat_reference, CONCAT),
    ),
    # Its layers' results are kept for their gradients, by anybody.
    "context_module-4x21x66x66": Call(
        [(4, 21, 66, 66), *7 * [(21, 21, 3, 3)]],
        head(pyfast.context_module, CONTEXT),
        head(context_module_reference, CONTEXT),
    ),
}


def beyond_results(call: Call, function: Callable[..., Tensor]) -> int:
    """Bytes at the peak of a forward and a backward pass that nobody asked for."""
    input, *weights = (torch.randn(shape).to(call.dtype) for shape in call.shapes)
    leaves = [t.requires_grad_() for t in (input.contiguous(memory_format=call.format), *weights)]
    gradient = torch.randn_like(function(*leaves).detach())
    kept: list[Tensor] = []

    def run() -> None:
        result = function(*leaves)
        kept[:] = [result.detach(), *torch.autograd.grad(result, leaves, gradient)]

    run()  # what is loaded on a first call is no matter of the others
    kept.clear()
    pyfast.clear_scratch()
    ctypes.CDLL(None).malloc_trim(0)
    peak = peak_of(run)
    return peak - sum(t.numel() * t.element_size() for t in kept)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {
        name: {
            "pyfast": beyond_results(CALLS[name], CALLS[name].ours),
            "torch": beyond_results(CALLS[name], CALLS[name].torchs),
        }
        for name in sys.argv[1:] or CALLS
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
