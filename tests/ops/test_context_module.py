"""The context module as an operator: its promises, both paddings, and what wrong calls say."""

import promises
import torch
import torch.nn.functional as F

import pyfast
from pyfast.ops.context_module import context_module_reference
from pyfast.testing import BadCall, OpCase, checks

INPUT = torch.rand(1, 2, 9, 9)
LAYERS = [torch.rand(3, 2, 3, 3), torch.rand(2, 3, 1, 1)]
BAD_CALLS = tuple(
    BadCall(
        what,
        lambda args=args: pyfast.context_module(*args),
        error,
        f"^context_module: expected {match}",
    )
    for what, args, error, match in (
        ("a list", ([1.0], LAYERS, None, [1, 1]), TypeError, "input to be a torch.Tensor"),
        ("not chained", (INPUT, LAYERS[::-1], None, [1, 1]), ValueError, r"weights\[0\] of shape"),
        ("second layer", (INPUT, LAYERS[:1] * 2, None, [1, 1]), ValueError, r"weights\[1\] of sha"),
        ("dilations", (INPUT, LAYERS, None, [1]), ValueError, "2 dilations, one for each weight"),
        ("dilation 0", (INPUT, LAYERS, None, [0, 1]), ValueError, "dilations to be positive"),
        ("padding", (INPUT, LAYERS, None, [1, 1], "frnt"), ValueError, "padding to be one of lay"),
    )
)


def unpacked(function, padding):
    return lambda input, *parts: function(input, parts[:3], parts[3:], (1, 2, 1), padding)


def cases():
    for padding in ("layer", "front"):

        def tensors(batch, size):
            widths = ((2, 3, 3), (3, 3, 3), (3, 2, 1))
            return (
                torch.randn(batch, 2, size + 1, size, dtype=torch.float64),
                *(torch.randn(o, i, k, k, dtype=torch.float64) for i, o, k in widths),
                *(torch.randn(o, dtype=torch.float64) for _, o, _ in widths),
            )

        def arguments(batch, size, padding=padding, tensors=tensors):
            input, *parts = tensors(batch, size)
            return input, parts[:3], parts[3:], (1, 2, 1), padding

        common = {"op": "context_module", "autocast": None, "native": False}
        yield OpCase(
            name=padding,
            function=pyfast.context_module,
            reference=context_module_reference,
            inputs=arguments,
            differentiable=(0,),
            inductor=padding == "layer",
            bad_calls=BAD_CALLS if padding == "layer" else (),
            **common,
        )
        yield OpCase(
            name=f"{padding}, all gradients",
            function=unpacked(pyfast.context_module, padding),
            reference=unpacked(context_module_reference, padding),
            inputs=tensors,
            differentiable=tuple(range(7)),
            **common,
        )


CASES = list(cases())


@promises.every(
    # torch's convolutions give other bits on two threads
    (check for check in checks(CASES) if check[1] != "threads"),
    promises.compiles_with_inductor,
)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


def test_paddings_agree_away_from_the_edges():
    """And at the edges differ: what the zeros in front become is not zero."""
    input = torch.randn(1, 2, 15, 15)
    weights = [torch.randn(2, 2, 3, 3) for _ in range(3)]
    biases = [torch.randn(2) for _ in range(3)]
    layer, front = (
        pyfast.context_module(input, weights, biases, (1, 2, 1), padding)
        for padding in ("layer", "front")
    )
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(layer[inner], front[inner])
    assert (layer - front)[..., 0, 0].abs().min() > 1e-3


def test_equals_convolutions_one_after_another():
    input, weights = torch.randn(2, 3, 20, 17), [torch.randn(3, 3, 3, 3) for _ in range(3)]
    expected = input
    for weight, rate in zip(weights, (1, 4, 2), strict=True):
        expected = F.conv2d(F.relu(expected) if rate > 1 else expected, weight, None, 1, rate, rate)
    torch.testing.assert_close(
        pyfast.context_module(input, weights, None, (1, 4, 2)), expected, rtol=1e-5, atol=1e-4
    )
