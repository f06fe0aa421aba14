"""ASPP by products and shifts, as on CUDA: on the CPU, on tensors without memory, and on a GPU."""

from collections.abc import Iterator

import promises
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import pyfast
from pyfast._native import _C
from pyfast.ops import _aspp_shifts as shifts
from pyfast.ops.aspp import _is_taken, aspp_sum_reference
from pyfast.testing import OpCase, checks

ROWS, COLUMNS = [-3, 0, 0, 2], [1, 0, -20, 2]


def added(products: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    """The definition of the shifts: (N, taps, O, H, W) -> (N, O, H, W)."""
    height, width = products.shape[3:]
    result = torch.zeros_like(products[:, 0])
    for t, (row, column) in enumerate(zip(rows, columns, strict=True)):
        moved = torch.nn.functional.pad(products[:, t], (99, 99, 99, 99))
        result = (
            result + moved[..., 99 + row : 99 + row + height, 99 + column : 99 + column + width]
        )
    return result


def spread(image: Tensor, rows: list[int], columns: list[int]) -> Tensor:
    negated = [-row for row in rows], [-column for column in columns]
    return torch.stack([added(image[:, None], [r], [c]) for r, c in zip(*negated, strict=True)], 1)


CASES = [
    OpCase(
        op="aspp_sum",
        name="add",
        function=shifts.aspp_add,
        reference=added,
        inputs=lambda batch, size: (
            torch.randn(batch, 4, 2, size + 1, size, dtype=torch.float64),
            ROWS,
            COLUMNS,
        ),
        operators=("pyfast::aspp_add", "pyfast::aspp_spread"),
        differentiable=(0,),
        autocast=None,
    ),
    OpCase(
        op="aspp_sum",
        name="spread",
        function=shifts.aspp_spread,
        reference=spread,
        inputs=lambda batch, size: (
            torch.randn(batch, 2, size + 1, size, dtype=torch.float64),
            ROWS,
            COLUMNS,
        ),
        operators=("pyfast::aspp_add", "pyfast::aspp_spread"),
        differentiable=(0,),
        autocast=None,
    ),
]


@promises.every(checks(CASES))
def test_promise(case: OpCase, promise: str, device: str) -> None:
    promises.keep(case, promise, device)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("most_bytes", [1, 2**25])
def test_products_and_shifts_equal_the_operators_of_the_cpu(
    layout: torch.memory_format, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two are one map, whether a batch is taken in pieces or not."""
    monkeypatch.setattr(shifts, "MOST_BYTES", most_bytes)
    input = torch.randn(3, 5, 6, 7, dtype=torch.float64).to(memory_format=layout)
    grad, weight = torch.randn(3, 2, 6, 7).double(), torch.randn(4, 2, 5, dtype=torch.float64)
    for ours, op, arguments in (
        (shifts.sum_of_taps, "aspp_sum", (input, weight)),
        (shifts.input_gradient, "aspp_sum_input_gradient", (grad, weight)),
        (shifts.weight_gradient, "aspp_sum_weight_gradient", (grad, input)),
    ):
        expected = getattr(torch.ops.pyfast, op)(*arguments, ROWS, COLUMNS)
        torch.testing.assert_close(ours(*arguments, ROWS, COLUMNS), expected)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_C, "with_cuda", True)
    with FakeTensorMode():
        yield


@pytest.mark.usefixtures("fake_gpu")
def test_when_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(dtype: torch.dtype, inputs: int = 512, outputs: int = 21, kernel: int = 3) -> bool:
        input = torch.empty(1, inputs, 40, 40, dtype=dtype, device="cuda")
        weight = torch.empty(outputs, inputs, kernel, kernel, dtype=dtype, device="cuda")
        return _is_taken(input, [weight] * 4)

    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert taken(dtype)
    assert not taken(torch.float16, inputs=64)
    assert not taken(torch.float16, outputs=256)
    assert not taken(torch.float16, kernel=9)
    assert not taken(torch.float32)  # convolutions round to TF32, products do not
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert taken(torch.float32)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and _C.with_cuda), reason="needs a GPU and its kernels"
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 1e-2)])
def test_on_a_gpu(dtype: torch.dtype, tolerance: float) -> None:
    input = torch.randn(2, 512, 33, 41, device="cuda", dtype=dtype)
    weights = [torch.randn(21, 512, 3, 3, device="cuda", dtype=dtype) for _ in range(4)]
    leaves = [t.requires_grad_() for t in (input, *weights)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    rates = (6, 12, 18, 24)
    found = pyfast.aspp_sum(input, weights, None, rates)
    wanted = aspp_sum_reference(exact[0], exact[1:], None, rates)
    grad = torch.randn_like(found)
    found_grads = torch.autograd.grad(found, leaves, grad)
    wanted_grads = torch.autograd.grad(wanted, exact, grad.double())
    for a, b in zip((found, *found_grads), (wanted, *wanted_grads), strict=True):
        scale = b.detach().abs().max()
        torch.testing.assert_close(
            a.detach().double() / scale, b.detach() / scale, atol=tolerance, rtol=0
        )
    with torch.autocast("cuda", torch.bfloat16):
        assert pyfast.aspp_sum(input.float(), weights, None, rates).dtype == torch.bfloat16
