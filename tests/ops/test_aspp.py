"""ASPP, summed and concatenated: its promises, and what wrong calls say."""

import promises
import pytest
import torch
import torch.nn.functional as F

import pyfast
from pyfast.ops._aspp_operators import aspp_by_products
from pyfast.ops._autograd import is_in_transform
from pyfast.ops.aspp import aspp_concat_reference, aspp_sum_reference
from pyfast.testing import BadCall, OpCase, checks

INPUT = torch.rand(1, 2, 9, 9)
WEIGHT, BIAS = torch.rand(3, 2, 3, 3), torch.rand(3)


def bad_calls(op):
    function = getattr(pyfast, op)
    wrong = [
        ("an array", (INPUT.numpy(), [WEIGHT], None, [1]), TypeError, "input to be a torch.Tensor"),
        ("rank 3", (INPUT[0], [WEIGHT], None, [1]), ValueError, "input of shape"),
        ("integers", (INPUT.long(), [WEIGHT], None, [1]), TypeError, "input of floats"),
        ("a tensor of weights", (INPUT, WEIGHT, None, [1]), TypeError, "weights to be a sequence"),
        ("no weights", (INPUT, [], None, []), ValueError, "at least one of weights"),
        ("rates", (INPUT, [WEIGHT], None, [1, 2]), ValueError, "1 rates, one for each weight"),
        ("biases", (INPUT, [WEIGHT], [], [1]), ValueError, "1 biases, one for each weight"),
        ("channels", (INPUT, [WEIGHT[:, :1]], None, [1]), ValueError, r"weights\[0\] of shape"),
        (
            "an even kernel",
            (INPUT, [WEIGHT[..., :2]], None, [1]),
            ValueError,
            r"weights\[0\] with a kernel of odd",
        ),
        ("bias length", (INPUT, [WEIGHT], [BIAS[:2]], [1]), ValueError, r"biases\[0\] of shape"),
        ("rate 0", (INPUT, [WEIGHT], None, [0]), ValueError, "rates to be positive, got 0"),
        ("half a rate", (INPUT, [WEIGHT], None, [1.5]), TypeError, "rates to hold integers"),
        ("dtype", (INPUT, [WEIGHT.double()], None, [1]), TypeError, r"weights\[0\] of the dtype"),
        ("device", (INPUT, [WEIGHT.to("meta")], None, [1]), ValueError, r"weights\[0\] on the dev"),
    ]
    if op == "aspp_sum":
        other = [WEIGHT, WEIGHT[:2]]
        wrong.append(("outputs", (INPUT, other, None, [1, 2]), ValueError, r"weights\[1\] of shap"))
    return tuple(
        BadCall(what, lambda args=args: function(*args), error, f"^{op}: expected {match}")
        for what, args, error, match in wrong
    )


def unpacked(function):
    """`function` of tensors one after another, so that all of them have gradients."""
    return lambda input, *parts: function(input, parts[:2], parts[2:], (1, 3))


def cases():
    for op, reference in (("aspp_sum", aspp_sum_reference), ("aspp_concat", aspp_concat_reference)):

        def tensors(batch, size):
            return (
                torch.randn(batch, 2, size + 2, size, dtype=torch.float64),
                *(torch.randn(3, 2, 3, 3, dtype=torch.float64) for _ in range(2)),
                *(torch.randn(3, dtype=torch.float64) for _ in range(2)),
            )

        def arguments(batch, size, tensors=tensors):
            input, *parts = tensors(batch, size)
            return input, parts[:2], [None, parts[3]], (1, 3)

        function = getattr(pyfast, op)
        # torch decides what its convolutions are cast to.
        common = {"op": op, "autocast": None, "native": False}
        yield OpCase(
            name="lists",
            function=function,
            reference=reference,
            inputs=arguments,
            differentiable=(0,),
            inductor=True,
            bad_calls=bad_calls(op),
            **common,
        )
        yield OpCase(
            name="all gradients",
            function=unpacked(function),
            reference=unpacked(reference),
            inputs=tensors,
            differentiable=tuple(range(5)),
            **common,
        )

    def products(batch, size):
        return (
            torch.randn(batch, 5, size + 2, size, dtype=torch.float64),
            *(torch.randn(3, 5, k, 3, dtype=torch.float64) for k in (3, 3, 1)),
        )

    def of_weights(function):
        return lambda input, *weights: function(input, weights, (1, 3, 2))

    yield OpCase(
        op="aspp_sum",
        name="products",
        function=of_weights(outside_of_transforms),
        reference=of_weights(
            lambda input, weights, rates: aspp_sum_reference(input, weights, None, rates)
        ),
        inputs=products,
        operators=(
            "pyfast::aspp_sum",
            "pyfast::aspp_sum_input_gradient",
            "pyfast::aspp_sum_weight_gradient",
        ),
        differentiable=tuple(range(4)),
        autocast=None,
    )


def outside_of_transforms(input, weights, rates):
    """The operators for inputs of any size, where `aspp_sum` would take them for large ones."""
    if is_in_transform():
        return aspp_sum_reference(input, weights, None, rates)
    return aspp_by_products(input, weights, rates)


CASES = list(cases())


def is_promised(case, promise, device):
    # torch's convolutions give other bits on two threads; products are for the CPU
    return promise != "threads" and (device == "cpu" or not case.operators)


@promises.every(
    (check for check in checks(CASES) if is_promised(*check)), promises.compiles_with_inductor
)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


@pytest.mark.parametrize("size", [(1, 1), (5, 50), (33, 33)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [40, 256])
def test_sum_of_four_rates_equals_four_convolutions(size, channels_last, channels):
    """DeepLab v2's rates, some of which reach over the whole picture; by convolutions and, of many
    channels, by products."""
    rates = (6, 12, 18, 24)
    input = torch.randn(2, channels, *size, dtype=torch.float64)
    if channels_last:
        input = input.contiguous(memory_format=torch.channels_last)
    weights = [torch.randn(5, channels, 3, 3, dtype=torch.float64) for _ in rates]
    biases = [torch.randn(5, dtype=torch.float64) for _ in rates]
    expected = sum(
        F.conv2d(input, weight, bias, padding=rate, dilation=rate)
        for weight, bias, rate in zip(weights, biases, rates, strict=True)
    )
    torch.testing.assert_close(pyfast.aspp_sum(input, weights, biases, rates), expected)
    parts = pyfast.aspp_concat(input, weights, biases, rates)
    torch.testing.assert_close(parts.unflatten(1, (4, 5)).sum(1), expected)


def test_branches_of_several_kernels():
    input = torch.randn(1, 4, 12, 11)
    weights = [torch.randn(3, 4, *kernel) for kernel in ((1, 1), (3, 3), (5, 3), (1, 7))]
    rates = (1, 2, 2, 1)
    expected = torch.cat(
        [
            F.conv2d(input, weight, padding="same", dilation=rate)
            for weight, rate in zip(weights, rates, strict=True)
        ],
        1,
    )
    torch.testing.assert_close(pyfast.aspp_concat(input, weights, None, rates), expected)
    torch.testing.assert_close(
        pyfast.aspp_sum(input, weights, None, rates), expected.unflatten(1, (4, 3)).sum(1)
    )


def test_many_channels_in_compiled_and_mapped_calls():
    """Where `aspp_sum` takes its operators, in the modes that the tables see small inputs in."""
    input = torch.randn(2, 256, 7, 8)
    weights = [torch.randn(3, 256, 3, 3) for _ in range(2)]

    def function(input):
        return pyfast.aspp_sum(input, weights, None, (1, 3))

    expected = aspp_sum_reference(input, weights, None, (1, 3))
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    tolerance = {"rtol": 1e-4, "atol": 1e-3}
    torch.testing.assert_close(compiled(input), expected, **tolerance)
    mapped = torch.func.vmap(lambda x: function(x[None])[0])
    torch.testing.assert_close(mapped(input), expected, **tolerance)
    together = torch.compile(mapped, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(together(input), expected, **tolerance)
    exact = input.double().requires_grad_()
    of_double = [weight.double() for weight in weights]
    gradients = [
        torch.func.grad(lambda x, f=f: f(x, of_double, None, (1, 3)).square().sum())(exact)
        for f in (pyfast.aspp_sum, aspp_sum_reference)
    ]
    torch.testing.assert_close(*gradients)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert function(input).dtype == torch.bfloat16
