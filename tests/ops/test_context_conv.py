"""A layer of a context module as one operator: its promises, and the module made of it."""

import sys
from collections.abc import Iterator

import promises
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import pyfast
from pyfast._native import _C
from pyfast.ops._context_conv import context_conv2d
from pyfast.ops.context_module import _has_kernels, context_module_reference
from pyfast.testing import OpCase, checks


def reference(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    pad_h: int,
    pad_w: int,
    by_h: int,
    by_w: int,
    adjoint: bool,
    relu: bool,
) -> Tensor:
    kernel = weight.transpose(0, 1).flip(2, 3) if adjoint else weight
    result = F.conv2d(input, kernel, bias, padding=(pad_h, pad_w), dilation=(by_h, by_w))
    return result.relu() if relu else result


def inputs(adjoint: bool, relu: bool):
    def draw(batch: int, size: int):
        channels, outputs = (4, 3) if adjoint else (3, 4)
        shapes = (batch, channels, size + 2, size), (4, 3, 3, 2), (outputs,)
        tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        return *tensors, 2, 2, 2, 3, adjoint, relu

    return draw


CASES = [
    OpCase(
        op="context_module",
        name=name,
        function=context_conv2d,
        reference=reference,
        inputs=inputs(adjoint, relu),
        operators=("pyfast::context_conv2d",),
        differentiable=(0, 1, 2),
        keeps_channels_last=(0,),
        autocast=None,
    )
    for name, adjoint, relu in (("layer", False, True), ("adjoint", True, False))
]
# torch's gradient of weights has other bits on two threads, and kernels on CUDA are for float32.
KEPT = [check for check in checks(CASES, on=["cpu"]) if check[1] != "threads"]


@promises.every(KEPT)
def test_promise(case: OpCase, promise: str, device: str) -> None:
    promises.keep(case, promise, device)


def layers(channels: int, device: str, dtype: torch.dtype = torch.float32):
    sizes = ((3, channels), (3, channels), (1, 2))
    weights = []
    for kernel, outputs in sizes:
        weights.append(torch.randn(outputs, channels, kernel, kernel, device=device, dtype=dtype))
        channels = outputs
    biases = [torch.randn(len(w), device=device, dtype=dtype) for w in weights]
    return weights, [biases[0], None, biases[2]], (1, 4, 1)


@pytest.mark.parametrize("padding", ["layer", "front"])
def test_one_operator_a_layer_is_the_same_module(
    padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, biases, dilations = layers(5, "cpu", torch.float64)
    input = torch.randn(2, 5, 13, 9, dtype=torch.float64, requires_grad=True)
    wanted = context_module_reference(input, weights, biases, dilations, padding)
    module = sys.modules[context_module_reference.__module__]  # hidden by its function
    monkeypatch.setattr(module, "chosen", lambda *call: ("direct", None))
    found = pyfast.context_module(input, weights, biases, dilations, padding)
    assert "context_conv2d" in str(found.grad_fn)
    torch.testing.assert_close(found, wanted)
    grad = torch.randn_like(found)
    torch.testing.assert_close(
        *(torch.autograd.grad(result, input, grad) for result in (found, wanted))
    )


def test_a_relu_keeps_nan_and_stops_infinite_gradients() -> None:
    """As torch's: an unknown stays one, and what was not let through has no gradient."""
    input = torch.tensor([-1.0, torch.nan, 2.0]).reshape(1, 1, 1, 3).requires_grad_()
    found = context_conv2d(input, torch.ones(1, 1, 1, 1), None, 0, 0, 1, 1, False, True)
    wanted = input.relu()
    torch.testing.assert_close(found, wanted, equal_nan=True)
    grad = torch.tensor([torch.inf, 1.0, 1.0]).reshape(input.shape)
    torch.testing.assert_close(
        *(torch.autograd.grad(result, input, grad) for result in (found, wanted))
    )


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_C, "with_cuda", True)
    with FakeTensorMode():
        yield


@pytest.mark.usefixtures("fake_gpu")
def test_when_kernels_are_taken() -> None:
    def taken(channels: int, dtype: torch.dtype) -> bool:
        input = torch.empty(1, channels, 9, 9, device="cuda", dtype=dtype)
        return _has_kernels(input, layers(channels, "cuda", dtype)[0])

    assert taken(32, torch.float32)
    assert not taken(33, torch.float32)
    assert not taken(32, torch.float16)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and _C.with_cuda), reason="needs a GPU and its kernels"
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_on_a_gpu(layout: torch.memory_format) -> None:
    weights, biases, dilations = layers(21, "cuda")
    input = torch.randn(2, 21, 66, 41, device="cuda").to(memory_format=layout)
    leaves = [t.requires_grad_() for t in (input, *weights)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    wide = [None if bias is None else bias.double() for bias in biases]
    found = pyfast.context_module(input, weights, biases, dilations)
    wanted = context_module_reference(exact[0], exact[1:], wide, dilations)
    grad = torch.randn_like(found)
    of_found = torch.autograd.grad(found, leaves, grad)
    of_wanted = torch.autograd.grad(wanted, exact, grad.double())
    for a, b in zip((found, *of_found), (wanted, *of_wanted), strict=True):
        scale = b.detach().abs().max()
        torch.testing.assert_close(
            a.detach().double() / scale, b.detach() / scale, atol=1e-5, rtol=0
        )
