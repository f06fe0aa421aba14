"""Dilated convolution against torch's in the same and in the other memory format, and ONNX Runtime.

The default route is timed, and Winograd's F(4x4) where it is asked for.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyfast
from benchmarks.common import Case, Column, Prepared
from benchmarks.memory import MEGABYTE, in_child
from benchmarks.ops.conv_memory import MOST
from benchmarks.results import Figure, Goal

NCHW, CHANNELS_LAST = "nchw", "channels_last"
FORWARD, INPUT, WEIGHT = "forward", "gradient of input", "gradient of weight"
FORMATS = {NCHW: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
PEERS = {
    "torch": "torch",
    "other": "torch in the other format",
    "onnx": "onnxruntime",
    "float32": "pyfast in float32",
}
Bars = dict[str, tuple[float, float | None]]


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 1 whose output has the size of its input."""

    shape: tuple[int, ...]  # (N, C, H, W) or (N, C, L)
    outputs: int
    kernel: int
    dilation: int
    groups: int = 1
    dtype: torch.dtype = torch.float32
    algorithm: str | None = None

    @property
    def spatial(self) -> int:
        return len(self.shape) - 2

    @property
    def options(self) -> tuple[Any, ...]:
        return None, 1, self.dilation * (self.kernel - 1) // 2, self.dilation, self.groups

    def tensors(self, layout: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        channels = self.shape[1] // self.groups
        input = torch.randn(*self.shape, generator=generator)
        size = (self.outputs, channels, *(self.kernel,) * self.spatial)
        weight = torch.randn(*size, generator=generator) / (channels * self.kernel**2) ** 0.5
        if self.spatial == 2:
            input = input.contiguous(memory_format=FORMATS[layout])
        return [input.to(self.dtype), weight.to(self.dtype)]

    def work(self) -> dict[str, int]:
        places = self.shape[0] * int(np.prod(self.shape[2:]))
        weights = self.outputs * self.shape[1] // self.groups * self.kernel**self.spatial
        values = places * (self.shape[1] + self.outputs) + weights
        return {"bytes": self.dtype.itemsize * values, "flops": 2 * places * weights}


def gradient(function: Callable[..., Tensor], tensors: list[Tensor], of: int) -> Callable[[], Any]:
    """A backward pass alone, for one of the tensors."""
    leaves = [t.detach().clone().requires_grad_(i == of) for i, t in enumerate(tensors)]
    output = function(*leaves)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    if output.dim() == 4 and not output.is_contiguous():
        grad = grad.contiguous(memory_format=torch.channels_last)
    return lambda: torch.autograd.grad(output, leaves[of], grad, retain_graph=True)


def onnxruntime_call(layer: Layer, input: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    _, _, padding, dilation, groups = layer.options
    info = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], dilations=[dilation] * 2, pads=[padding] * 4, group=groups
    )
    graph = onnx.helper.make_graph(
        [node], "layer", [info("x", shape=list(input.shape))], [info("y", shape=None)],
        [onnx.numpy_helper.from_array(weight.numpy(), "w")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    file = io.BytesIO()
    onnx.save(model, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": input.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def prepare(layer: Layer, case: Case, device: torch.device) -> Prepared:
    tensors = [t.to(device) for t in layer.tensors(case.layout)]
    other = [t.to(device) for t in layer.tensors(NCHW if case.layout != NCHW else CHANNELS_LAST)]
    exact = [t.double() for t in tensors]
    function = pyfast.dilated_conv2d if layer.spatial == 2 else pyfast.dilated_conv1d
    of_torch = F.conv2d if layer.spatial == 2 else F.conv1d

    def ours(*t: Tensor) -> Tensor:
        return function(*t, *layer.options, algorithm=layer.algorithm)

    def torchs(*t: Tensor) -> Tensor:
        return of_torch(*t, *layer.options)

    tolerance = 1e-3 if layer.dtype.itemsize >= 4 else 3e-3
    if case.direction != FORWARD:
        of = 0 if case.direction == INPUT else 1
        calls = {
            "pyfast": gradient(ours, tensors, of),
            PEERS["torch"]: gradient(torchs, tensors, of),
        }
        truth = gradient(torchs, exact, of)()
    else:
        calls = {"pyfast": lambda: ours(*tensors), PEERS["torch"]: lambda: torchs(*tensors)}
        if layer.spatial == 2:
            calls[PEERS["other"]] = lambda: torchs(*other)
        if layer.dtype != torch.float32:
            wide = [t.float() for t in tensors]
            calls[PEERS["float32"]] = lambda: ours(*wide)
        plain = layer.spatial == 2 and layer.dtype == torch.float32
        if plain and layer.groups > 1 and case.layout == NCHW and device.type == "cpu":
            calls[PEERS["onnx"]] = onnxruntime_call(layer, *tensors)
        truth = (torchs(*exact),)
    return Prepared({n: Column(call, tolerance=tolerance) for n, call in calls.items()}, truth)


def cases(name: str, layer: Layer, bars: dict[tuple[str, str], Bars]) -> list[Case]:
    return [
        Case(
            name,
            layer.shape,
            layout,
            direction,
            partial(prepare, layer),
            **layer.work(),
            goals=tuple(Goal(PEERS[peer], *bar) for peer, bar in goals.items()),
        )
        for (layout, direction), goals in bars.items()
    ]


def both(bars: Bars, *directions: str) -> dict[tuple[str, str], Bars]:
    return {(layout, d): bars for layout in FORMATS for d in directions or (FORWARD,)}


NEAR = {"torch": (0.95, None)}
# At most twice, or four times, the time of float32.
HALF = NEAR | {"float32": (0.5, None)}
DOUBLE = NEAR | {"float32": (0.25, None)}
FAR_DEPTHWISE = {
    (NCHW, FORWARD): {"torch": (4, 8), "onnx": (1.2, None)},
    (CHANNELS_LAST, FORWARD): {"torch": (4, 8)},
}
DEPTHWISE_BACKWARD = {
    (NCHW, INPUT): {"torch": (6, 12)},
    (CHANNELS_LAST, INPUT): {"torch": (4, 9)},
    **both({"torch": (4, 7)}, WEIGHT),
}
FEW = {
    (NCHW, FORWARD): {"torch": (1.8, 2.4)},
    (CHANNELS_LAST, FORWARD): {"torch": (1.0, 1.4)},
}
DENSE = {"torch": (1.15, 1.3)}
DENSE4 = {"torch": (1.5, 1.8)}
SIGNALS = {(NCHW, FORWARD): {"torch": (2.0, 3.0)}}

CASES = [
    *cases("depthwise-d12", Layer((1, 256, 65, 65), 256, 3, 12, 256),
           FAR_DEPTHWISE | DEPTHWISE_BACKWARD),
    *cases("depthwise-d12", Layer((4, 256, 65, 65), 256, 3, 12, 256), FAR_DEPTHWISE),
    *cases("depthwise-d12", Layer((1, 2048, 33, 33), 2048, 3, 12, 2048), FAR_DEPTHWISE),
    *cases("depthwise-d1", Layer((1, 256, 65, 65), 256, 3, 1, 256), both({"other": (0.95, 1.5)})),
    *cases("depthwise-d2", Layer((1, 256, 65, 65), 256, 3, 2, 256),
           both({"other": (0.95, 1.5)}) | DEPTHWISE_BACKWARD),
    *cases("depthwise-d4", Layer((1, 256, 65, 65), 256, 3, 4, 256), both({"other": (0.95, 1.5)})),
    *cases("few-d1", Layer((1, 21, 66, 66), 21, 3, 1), FEW),
    *cases("few-d4", Layer((1, 21, 66, 66), 21, 3, 4), FEW | both(NEAR, INPUT, WEIGHT)),
    *cases("few-d16", Layer((1, 21, 66, 66), 21, 3, 16), FEW),
    *cases("few-d4", Layer((4, 21, 90, 90), 21, 3, 4), FEW),
    *cases("dense-d2", Layer((1, 256, 41, 41), 256, 3, 2),
           both(DENSE) | both(NEAR, INPUT, WEIGHT)),
    *cases("dense-d2", Layer((4, 256, 41, 41), 256, 3, 2), both(DENSE)),
    *cases("dense-d4", Layer((1, 512, 41, 41), 512, 3, 4), both(NEAR)),
    *cases("dense-d2", Layer((1, 512, 66, 66), 512, 3, 2), both(DENSE)),
    *cases("dense-d2-winograd4", Layer((1, 256, 41, 41), 256, 3, 2, algorithm="winograd4"),
           both(DENSE4) | both(NEAR, INPUT)),
    *cases("dense-d2-winograd4", Layer((1, 512, 66, 66), 512, 3, 2, algorithm="winograd4"),
           both(DENSE4)),
    *cases("dense-d8", Layer((1, 336, 66, 66), 672, 3, 8), both(NEAR)),
    *cases("dense-d12", Layer((1, 2048, 33, 33), 256, 3, 12), both(NEAR)),
    *cases("grouped-d2", Layer((1, 256, 41, 41), 256, 3, 2, 32), both(NEAR)),
    *cases("depthwise-signal-d16", Layer((8, 512, 1000), 512, 3, 16, 512), SIGNALS),
    *cases("few-signal-d8", Layer((32, 25, 1000), 25, 7, 8), SIGNALS),
    *cases("signal-d512", Layer((1, 64, 16001), 128, 3, 512), {(NCHW, FORWARD): NEAR}),
    *cases("float16-d2", Layer((1, 256, 41, 41), 256, 3, 2, dtype=torch.float16), both(HALF)),
    *cases("float16-depthwise-d2", Layer((1, 256, 65, 65), 256, 3, 2, 256, torch.float16),
           both(HALF)),
    *cases("float16-depthwise-d12", Layer((1, 256, 65, 65), 256, 3, 12, 256, torch.float16),
           both(HALF)),
    *cases("float64-d2", Layer((1, 256, 41, 41), 256, 3, 2, dtype=torch.float64), both(DOUBLE)),
    *cases("float64-depthwise-d2", Layer((1, 256, 65, 65), 256, 3, 2, 256, torch.float64),
           both(DOUBLE)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_dilated_conv(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)


@pytest.mark.usefixtures("on_the_cpu")
def bench_memory(figure: Callable[[Figure], None]) -> None:
    """Peak of forward and backward, in a process that does nothing else."""
    for name, found in in_child("benchmarks.ops.conv_memory").items():
        ours, torchs = (found[library] / MEGABYTE for library in ("pyfast", "torch"))
        what = "memory beyond results and gradients, forward and backward, MB"
        figure(Figure(name, what, ours, {"torch": torchs}, MOST / MEGABYTE))
