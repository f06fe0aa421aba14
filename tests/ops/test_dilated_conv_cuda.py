"""Dilated convolution on a GPU; tests/simt runs the same kernels where there is no GPU.

Which operators a call takes is seen without a GPU, on tensors that have no memory.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import pyfast
from pyfast._native import _C
from pyfast.ops._implicit_conv import implicit_conv2d

needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and _C.with_cuda), reason="needs a GPU and its kernels"
)


class Operators(TorchDispatchMode):
    """Names of the operators that calls reach."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.namespace != "prim":  # which ask for a property
            self.names.append(op._schema.name)
        return op(*args, **(kwargs or {}))


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_C, "with_cuda", True)
    with FakeTensorMode():
        yield


def operators_of(channels: int, groups: int, **options: Any) -> list[str]:
    dtype, kernel = options.pop("dtype", torch.float32), options.pop("kernel", (3, 3))
    input = torch.empty(2, channels, 40, 40, dtype=dtype, device="cuda")
    weight = torch.empty(channels, channels // groups, *kernel, dtype=dtype, device="cuda")
    with Operators() as seen:
        pyfast.dilated_conv2d(input, weight, None, groups=groups, **options)
    return seen.names


@pytest.mark.usefixtures("fake_gpu")
def test_who_computes_depthwise() -> None:
    ours, torchs = ["pyfast::depthwise_conv2d"], ["aten::convolution"]
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert operators_of(8, 8, dilation=2, padding=2, dtype=dtype) == ours
    assert operators_of(8, 8, padding=1) == torchs
    assert operators_of(8, 8, padding=1, algorithm="depthwise") == ours
    assert operators_of(8, 8, dilation=2, algorithm="torch") == torchs
    assert operators_of(8, 8, dilation=2, stride=2) == torchs
    assert operators_of(8, 8, dilation=(1, 2), kernel=(33, 20)) == ours
    assert operators_of(8, 8, dilation=(1, 2), kernel=(36, 30), padding=10) == torchs


@needs_gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 3e-6), (torch.float64, 1e-13), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_depthwise_on_cuda(
    layout: torch.memory_format, dtype: torch.dtype, tolerance: float
) -> None:
    for shape, kernel, padding, dilation in (
        ((2, 36, 41, 41), (3, 3), (12, 12), (12, 12)),
        ((3, 5, 9, 70), (1, 7), (0, 9), (1, 3)),
        ((1, 130, 17, 6), (5, 4), (4, 0), (2, 1)),
    ):
        channels = shape[1]
        input = torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=layout)
        weight = torch.randn(channels, 1, *kernel, device="cuda", dtype=dtype)
        bias = torch.randn(channels, device="cuda", dtype=dtype)
        leaves = [t.requires_grad_() for t in (input, weight, bias)]
        exact = [t.detach().double().requires_grad_() for t in leaves]
        options = (1, padding, dilation, channels)
        result = pyfast.dilated_conv2d(*leaves, *options, algorithm="depthwise")
        expected = F.conv2d(*exact, *options)
        grad = torch.randn_like(result)
        of_result = torch.autograd.grad(result, leaves, grad)
        of_expected = torch.autograd.grad(expected, exact, grad.double())
        for found, wanted in zip((result, *of_result), (expected, *of_expected), strict=True):
            expect_close(found, wanted, tolerance)
        again = torch.autograd.grad(
            pyfast.dilated_conv2d(*leaves, *options, algorithm="depthwise"), leaves, grad
        )
        assert torch.equal(of_result[0], again[0])
        assert torch.equal(of_result[1], again[1])


def expect_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    scale = wanted.detach().abs().max()
    torch.testing.assert_close(
        found.detach().double() / scale, wanted.detach() / scale, atol=tolerance, rtol=0
    )


@needs_gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_implicit_products_on_cuda(layout: torch.memory_format) -> None:
    for inputs, outputs, groups, kernel, stride, padding, dilation in (
        (256, 130, 1, [3, 3], [1, 1], [2, 2], [2, 2]),
        (24, 48, 4, [3, 2], [2, 1], [24, 0], [24, 3]),
        (2048, 21, 1, [3, 3], [1, 1], [12, 12], [12, 12]),
    ):
        input = torch.randn(2, inputs, 41, 33, device="cuda").to(memory_format=layout)
        weight = torch.randn(outputs, inputs // groups, *kernel, device="cuda")
        leaves = [t.requires_grad_() for t in (input, weight, torch.randn(outputs, device="cuda"))]
        exact = [t.detach().double().requires_grad_() for t in leaves]
        options = stride, padding, dilation, groups
        expected = F.conv2d(*exact, *options)
        grad = torch.randn(expected.shape, device="cuda")
        of_expected = torch.autograd.grad(expected, exact, grad.double())
        runs = []
        for _ in range(2):
            result = implicit_conv2d(*leaves, *options)
            runs.append((result, *torch.autograd.grad(result, leaves, grad)))
        for found, wanted in zip(runs[0], (expected, *of_expected), strict=True):
            expect_close(found, wanted, 3e-6)
        assert all(torch.equal(a, b) for a, b in zip(runs[0][:3], runs[1][:3], strict=True))
