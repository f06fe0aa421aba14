"""Dilated convolution: its promises, torch's results, and what wrong calls say."""

from functools import partial

import numpy as np
import promises
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyfast
from pyfast.ops import _conv_routes
from pyfast.ops._conv_routes import choose
from pyfast.ops._convolution import convolution_of
from pyfast.ops._winograd_conv import _Transformed
from pyfast.ops.dilated_conv import _signature, dilated_conv2d_reference
from pyfast.testing import BadCall, OpCase, checks

INPUT, WEIGHT = torch.rand(1, 4, 9, 9), torch.rand(4, 1, 3, 3)


def bad_calls(op):
    function = getattr(pyfast, op)
    spatial = 2 if op == "dilated_conv2d" else 1
    x, w = (INPUT, WEIGHT) if spatial == 2 else (INPUT[:, :, 0], WEIGHT[:, :, 0])
    dense = w.expand(4, 4, *w.shape[2:])
    wrong = [
        ("an algorithm", (x, dense), {"algorithm": "fast"}, ValueError, "expected algorithm None"),
        ("no depthwise", (x, dense), {"algorithm": "depthwise"}, ValueError, "as many groups"),
        ("dilation 0", (x, w), {"groups": 4, "dilation": 0}, RuntimeError, "dilation"),
        ("padding", (x, w), {"groups": 4, "padding": -1}, RuntimeError, "padding"),
        ("a large kernel", (x, w), {"groups": 4, "dilation": 5}, RuntimeError, "[Kk]ernel size"),
        ("groups", (x, w), {"groups": 3}, RuntimeError, "group"),
        ("bias length", (x, w, torch.rand(3)), {"groups": 4}, RuntimeError, "bias"),
        ("same", (x, w), {"groups": 4, "padding": "same", "stride": 2}, RuntimeError, "strided"),
        ("dtype", (x, w.double()), {"groups": 4}, RuntimeError, "type"),
    ]
    return tuple(
        BadCall(what, lambda a=args, k=kwargs: function(*a, **k), error, match)
        for what, args, kwargs, error, match in wrong
    )


def reference_2d(input, weight, bias, stride, padding, dilation, groups):
    return dilated_conv2d_reference(
        input, weight, bias, (stride, stride), padding, dilation, groups
    )


def reference_1d(input, weight, bias, stride, padding, dilation, groups):
    result = dilated_conv2d_reference(
        input[:, :, None],
        weight[:, :, None],
        bias,
        (1, stride),
        (0, padding),
        (1, dilation),
        groups,
    )
    return result[:, :, 0]


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def inputs_2d(batch, size):
    weight = normal(3, 1, 3, 3)
    return normal(batch, 3, size + 2, size), weight, normal(3), 1, (5, 4), (5, 4), 3


def inputs_with_stride(batch, size):
    weight = normal(6, 1, 3, 3)
    return normal(batch, 3, size + 2, size + 1), weight, normal(6), 2, (1, 2), (1, 2), 3


def inputs_1d(batch, size):
    return normal(batch, 3, size), normal(3, 1, 2), None, 1, 2, 4, 3


def inputs_3x3(batch, size):
    return normal(batch, 3, size + 1, size), normal(2, 3, 3, 3), normal(2), 1, (2, 1), (2, 1), 1


def dense_inputs(batch, size):
    return normal(batch, 4, size, size), normal(6, 2, 3, 3), normal(6), 2, (2, 2), (2, 2), 2


def with_frozen_weights(*arguments):
    if not torch.compiler.is_compiling():
        pyfast.clear_scratch()  # of weights that were transformed before
    return pyfast.dilated_conv2d(*arguments, algorithm="winograd2")


def cases():
    ours = ("pyfast::depthwise_conv2d", "pyfast::depthwise_conv2d_weight")
    # torch decides what a convolution is cast to.
    common = {"autocast": None}
    of_images = {"op": "dilated_conv2d", **common}
    yield OpCase(
        name="depthwise",
        function=partial(pyfast.dilated_conv2d, algorithm="depthwise"),
        reference=reference_2d,
        inputs=inputs_2d,
        operators=ours,
        differentiable=(0, 1, 2),
        keeps_channels_last=(0,),
        tiles=(8, 16),
        inductor=True,
        bad_calls=bad_calls("dilated_conv2d"),
        **of_images,
    )
    yield OpCase(
        name="depthwise with stride",
        function=partial(pyfast.dilated_conv2d, algorithm="depthwise"),
        reference=reference_2d,
        inputs=inputs_with_stride,
        operators=ours,
        differentiable=(0, 1, 2),
        keeps_channels_last=(0,),
        tiles=(16,),
        native=False,
        **of_images,
    )
    for algorithm, tile in (("winograd2", 2), ("winograd4", 4)):
        yield OpCase(
            name=algorithm,
            function=partial(pyfast.dilated_conv2d, algorithm=algorithm),
            reference=reference_2d,
            inputs=inputs_3x3,
            operators=("pyfast::winograd_conv2d",),
            differentiable=(0, 1, 2),
            keeps_channels_last=(0,),
            tiles=(2 * tile,),
            inductor=tile == 4,
            **of_images,
        )
    yield OpCase(
        name="direct",
        function=partial(pyfast.dilated_conv2d, algorithm="direct"),
        reference=reference_2d,
        inputs=inputs_3x3,
        operators=("pyfast::direct_conv2d",),
        differentiable=(0, 1, 2),
        keeps_channels_last=(0,),
        tiles=(16, 24, 48),
        **of_images,
    )
    yield OpCase(
        name="frozen weights",
        function=with_frozen_weights,
        reference=reference_2d,
        inputs=inputs_3x3,
        operators=("pyfast::winograd_conv2d", "pyfast::winograd_weight"),
        differentiable=(0,),
        **of_images,
    )
    yield OpCase(
        name="groups",
        function=pyfast.dilated_conv2d,
        reference=reference_2d,
        inputs=dense_inputs,
        differentiable=(0, 1, 2),
        native=False,
        **of_images,
    )
    yield OpCase(
        op="dilated_conv1d",
        name="depthwise",
        function=partial(pyfast.dilated_conv1d, algorithm="depthwise"),
        reference=reference_1d,
        inputs=inputs_1d,
        operators=ours,
        differentiable=(0, 1),
        tiles=(16,),
        inductor=True,
        bad_calls=bad_calls("dilated_conv1d"),
        **common,
    )


CASES = list(cases())


def is_promised(case, promise, device):
    # What torch's library sums on two threads has other bits; kernels of ours are for the CPU.
    if promise == "threads" and case.name != "depthwise":
        return False
    return device == "cpu" or not case.native


@promises.every(
    (check for check in checks(CASES) if is_promised(*check)), promises.compiles_with_inductor
)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


SHAPES = [
    # batch, channels, height, width, kernel, padding, dilation
    (2, 5, 9, 13, (3, 3), (2, 2), (2, 2)),
    (2, 3, 35, 37, (3, 3), (2, 4), (2, 2)),
    (1, 19, 41, 41, (3, 3), (24, 24), (24, 24)),
    (2, 20, 33, 17, (5, 4), (4, 0), (2, 3)),
    (3, 4, 7, 70, (1, 7), (0, 18), (1, 6)),
    (1, 64, 20, 20, (3, 3), (6, 6), (6, 6)),
    (2, 33, 6, 1, (2, 1), (0, 0), (5, 1)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("stride", "multiplier"), [(1, 1), (2, 1), ((1, 3), 1), ((3, 2), 2)])
def test_depthwise_equals_torch(shape, layout, dtype, stride, multiplier):
    batch, channels, height, width, kernel, padding, dilation = shape
    input = torch.randn(batch, channels, height, width, dtype=dtype).to(memory_format=layout)
    outputs = channels * multiplier
    weight, bias = torch.randn(outputs, 1, *kernel, dtype=dtype), torch.randn(outputs).to(dtype)
    tensors = [t.requires_grad_() for t in (input, weight, bias)]
    options = (stride, padding, dilation, channels)
    ours = pyfast.dilated_conv2d(*tensors, *options, algorithm="depthwise")
    exact = F.conv2d(*(t.double() for t in tensors), *options)
    grad = torch.randn_like(exact)
    close = (
        {"rtol": 1e-5, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    )
    torch.testing.assert_close(ours.double(), exact, **close)
    wanted = torch.autograd.grad(exact, tensors, grad)
    for got, of_torch in zip(
        torch.autograd.grad(ours, tensors, grad.to(dtype)), wanted, strict=True
    ):
        scale = of_torch.abs().max()
        torch.testing.assert_close(got / scale, of_torch / scale, **close)
    if ours.numel() > batch * outputs and outputs > 1:
        assert ours.is_contiguous(memory_format=layout)


WINOGRAD_SHAPES = [
    # batch, channels, outputs, height, width, padding, dilation
    (1, 16, 32, 9, 10, 1, 1),
    (2, 37, 19, 17, 23, 3, 3),
    (1, 8, 8, 41, 5, (4, 0), (4, 2)),
    (2, 33, 17, 6, 7, 5, 5),
    (1, 3, 1, 3, 3, 0, 1),
    (1, 2, 40, 25, 30, (12, 3), (12, 2)),
    (3, 21, 21, 20, 66, 16, 16),
]


@pytest.mark.parametrize("shape", WINOGRAD_SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("algorithm", ["direct", "winograd2", "winograd4", "other_layout"])
def test_algorithms_equal_torch(shape, layout, algorithm):
    torch.manual_seed(0)
    batch, channels, outputs, height, width, padding, dilation = shape
    atol = 1e-5 if algorithm == "winograd4" else 3e-6
    input = torch.randn(batch, channels, height, width).to(memory_format=layout)
    weight, bias = torch.randn(outputs, channels, 3, 3), torch.randn(outputs)
    tensors = [t.requires_grad_() for t in (input, weight, bias)]
    ours = pyfast.dilated_conv2d(*tensors, 1, padding, dilation, algorithm=algorithm)
    exact = F.conv2d(*(t.double() for t in tensors), 1, padding, dilation)
    grad = torch.randn_like(exact)
    pairs = zip(
        (ours, *torch.autograd.grad(ours, tensors, grad.float())),
        (exact, *torch.autograd.grad(exact, tensors, grad)),
        strict=True,
    )
    for got, wanted in pairs:
        scale = wanted.abs().max()
        torch.testing.assert_close(got.double() / scale, wanted.double() / scale, rtol=0, atol=atol)
    assert ours.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (1, 9), (5, 1)])
@pytest.mark.parametrize("outputs", [1, 4, 5, 13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_of_any_size_equal_those_of_torch(kernel, outputs, dtype):
    input = torch.randn(2, 3, 12, 50, dtype=dtype, requires_grad=True)
    weight = torch.randn(outputs, 3, *kernel, dtype=dtype, requires_grad=True)
    options = (None, 1, (kernel[0] - 1, kernel[1] - 1), (2, 3))
    ours = pyfast.dilated_conv2d(input, weight, *options, algorithm="direct")
    wanted = F.conv2d(input, weight, *options)
    torch.testing.assert_close(ours, wanted)
    grad = torch.randn_like(wanted)
    for got, of_torch in zip(
        torch.autograd.grad(ours, (input, weight), grad),
        torch.autograd.grad(wanted, (input, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, of_torch, rtol=1e-4, atol=1e-4)


def test_transformed_weights_follow_what_is_written_into_them():
    input, weight = torch.randn(1, 4, 8, 8), torch.nn.Parameter(torch.randn(4, 4, 3, 3))
    convolve = partial(pyfast.dilated_conv2d, input, weight, padding=1, algorithm="winograd2")
    with torch.no_grad():
        first = convolve()
        assert torch.equal(convolve(), first)
        weight.data.mul_(2)  # which leaves no trace in the weight's version
        torch.testing.assert_close(convolve(), 2 * first)


def test_transformed_weights_are_kept_up_to_a_bound():
    kept = _Transformed(most_bytes=2 * 4 * 16 * (9 + 16) + 1)
    weights = [torch.randn(4, 4, 3, 3) for _ in range(3)]
    made = [kept.get(weight, 2) for weight in weights]
    assert kept.get(weights[2], 2) is made[2]
    assert kept.get(weights[1], 2) is made[1]
    assert kept.get(weights[0], 2) is not made[0]
    assert kept.clear() == 2 * 4 * 16 * (9 + 16)
    assert kept.clear() == 0


def test_halves_are_computed_in_float32():
    input, weight = torch.randn(1, 4, 8, 8).half(), torch.randn(4, 4, 3, 3).half()
    wide = F.conv2d(input.float(), weight.float(), padding=2, dilation=2).half()
    result = pyfast.dilated_conv2d(input, weight, padding=2, dilation=2, algorithm="float32")
    torch.testing.assert_close(result, wide)


@pytest.mark.parametrize("size", [(17, 45), (60, 70)])
@pytest.mark.parametrize("is_input_last", [False, True])
@pytest.mark.parametrize("is_weight_last", [False, True])
def test_depthwise_learns_in_bfloat16(size, is_input_last, is_weight_last):
    """Torch's own gradient of the weights errs with processors that have matrix instructions."""
    torch.manual_seed(0)
    input, weight = torch.randn(1, 17, *size).bfloat16(), torch.randn(17, 1, 3, 3).bfloat16()
    options = {"padding": (2, 0), "dilation": (3, 2), "groups": 17}
    expected = weight.double().requires_grad_()
    result = F.conv2d(input.double(), expected, **options)
    grad = torch.randn(result.shape).bfloat16()
    result.backward(grad.double())
    if is_input_last:
        input = input.contiguous(memory_format=torch.channels_last)
    if is_weight_last:
        weight = weight.new_empty_strided(weight.shape, (9, 1, 3, 1)).copy_(weight)
    weight.requires_grad_()
    pyfast.dilated_conv2d(input, weight, **options).backward(grad)
    close = float(expected.grad.abs().max()) * torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(weight.grad.double(), expected.grad, rtol=0, atol=close)


@pytest.mark.parametrize("groups", [1, 4])
def test_one_column_of_strides_in_bfloat16(groups):
    """Where torch gives what lies in memory, on processors with matrix instructions."""
    input, weight = torch.randn(2, 8, 16, 3), torch.randn(8, 8 // groups, 3, 3)
    halves = input.bfloat16(), weight.bfloat16()
    for convolve, call in (
        (pyfast.dilated_conv2d, halves),
        (pyfast.dilated_conv1d, [half[:, :, 1] for half in halves]),
    ):
        exact = (F.conv1d if call[0].dim() == 3 else F.conv2d)(
            *(half.double() for half in call), stride=2, groups=groups
        )
        found = convolve(*call, stride=2, groups=groups)
        torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("algorithm", ["torch", "other_layout"])
def test_vmap_knows_one_layout(algorithm):
    inputs, weight = torch.randn(3, 2, 8, 9, 9), torch.randn(8, 8, 3, 3)
    torch.testing.assert_close(
        torch.vmap(lambda x: pyfast.dilated_conv2d(x, weight, algorithm=algorithm))(inputs),
        torch.stack([F.conv2d(x, weight) for x in inputs]),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("padding", [0, 3, (1, 2), "valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_arguments_mean_what_they_mean_to_torch(padding, stride, groups):
    if padding == "same" and stride != 1:
        pytest.skip("torch has none")
    input, weight = torch.randn(4, 11, 12), torch.randn(8, 4 // groups, 3, 2)
    for w in (weight, weight[:4] if groups == 4 else weight):
        arguments = (input, w, None, stride, padding, (2, 3), groups)
        torch.testing.assert_close(pyfast.dilated_conv2d(*arguments), F.conv2d(*arguments))
        batched = (input[None], *arguments[1:])
        torch.testing.assert_close(pyfast.dilated_conv2d(*batched), F.conv2d(*batched))


@pytest.mark.parametrize("padding", [0, 2, (3,), "valid", "same"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dilation", [1, 4])
def test_signals_equal_torch(padding, groups, dilation):
    input, weight = torch.randn(4, 30), torch.randn(4, 4 // groups, 3)
    arguments = (input, weight, torch.randn(4), 1, padding, dilation, groups)
    torch.testing.assert_close(pyfast.dilated_conv1d(*arguments), F.conv1d(*arguments))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_other_dtypes_are_those_of_torch(dtype):
    input, weight = torch.randn(1, 4, 8, 8).to(dtype), torch.randn(4, 1, 3, 3).to(dtype)
    arguments = (input, weight, None, 1, 2, 2, 4)
    torch.testing.assert_close(pyfast.dilated_conv2d(*arguments), F.conv2d(*arguments))


@pytest.mark.parametrize("number", [np.int64(2), torch.Size([2, 2]), [np.int32(2), 2]])
def test_numbers_of_any_kind_mean_what_they_mean_to_torch(number):
    input, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3)
    wanted = F.conv2d(input, weight, None, 1, 2, 2, 4)
    got = pyfast.dilated_conv2d(input, weight, None, 1, number, number, 4, algorithm="depthwise")
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("option", [{"padding": None}, {"dilation": 1.5}, {"stride": 1.5}])
def test_what_is_no_number_is_refused_as_by_torch(option):
    input, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3)
    with pytest.raises(TypeError, match=next(iter(option))):
        pyfast.dilated_conv2d(input, weight, groups=4, **option)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"dilation": 0}, RuntimeError, "non-positive dilation"),
        ({"padding": -1}, RuntimeError, "negative padding"),
        ({"dilation": 9}, RuntimeError, "Kernel size can't be greater"),
        ({"bias": torch.ones(5)}, RuntimeError, "expected bias"),
        ({"groups": 3}, RuntimeError, "Given groups=3"),
        ({"padding": "same", "stride": 2}, RuntimeError, "padding='same'"),
        ({"weight": torch.ones(6, 4, 3, 3, dtype=torch.int64)}, RuntimeError, "type"),
        ({"input": None}, TypeError, "invalid combination"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_errors_are_torchs_and_tell_the_call(wrong, error, said):
    call = {"input": torch.ones(2, 4, 9, 9), "weight": torch.ones(6, 4, 3, 3)} | wrong
    with pytest.raises(error):
        F.conv2d(**call)
    with pytest.raises(
        error, match=f"^dilated_conv2d: (.|\\n)*{said}(.|\\n)*Got input .*groups "
    ) as e:
        pyfast.dilated_conv2d(**call)
    assert e.type is error
    changed, value = next(iter(wrong.items()))
    if not isinstance(value, torch.Tensor):
        assert f"{changed} {value!r}" in str(e.value)


def test_autocast_is_that_of_torch():
    input, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = pyfast.dilated_conv2d(input, weight, None, 1, 8, 8, 4)
    assert result.dtype == torch.bfloat16


def test_a_nan_stays_where_it_is_seen():
    input = torch.zeros(1, 2, 5, 5)
    input[0, 0, 2, 2] = float("nan")
    result = pyfast.dilated_conv2d(input, torch.ones(2, 1, 3, 3), None, 1, 2, 2, 2)
    seen = torch.zeros(5, 5, dtype=torch.bool)
    seen[::2, ::2] = True
    assert torch.equal(result[0, 0].isnan(), seen)
    assert not result[0, 1].isnan().any()


@pytest.mark.parametrize("algorithm", ["depthwise", "direct", "winograd2"])
@pytest.mark.parametrize("dim", [0, 2])
def test_vmap_over_nothing_gives_nothing(algorithm, dim):
    groups = 4 if algorithm == "depthwise" else 1
    weight = torch.randn(4, 4 // groups, 3, 3)
    options = {"padding": 1, "groups": groups, "algorithm": algorithm}
    shape = [1, 4, 8, 8]
    shape.insert(dim, 0)
    convolve = partial(pyfast.dilated_conv2d, weight=weight, **options)
    assert torch.vmap(convolve, dim)(torch.randn(shape)).shape == (0, 1, 4, 8, 8)


def test_a_kernel_of_one_tap_is_torchs():
    for shape in ((4, 8, 1, 4096), (4, 8, 64, 64)):
        c = convolution_of(2, torch.randn(shape), torch.randn(8, 8, 1, 1), None, 1, 0, 1, 1)
        assert _conv_routes.choose(c) == "torch"


def test_a_bias_is_part_of_what_is_remembered():
    call = (2, INPUT, WEIGHT)
    options = (1, 0, 1, 4)
    assert _signature(*call, None, *options) != _signature(*call, torch.rand(4), *options)


@pytest.mark.parametrize("algorithm", ["winograd2", "other_layout"])
def test_no_table_copies_much_memory(algorithm, monkeypatch):
    with FakeTensorMode():
        large, small = (
            convolution_of(
                2, torch.empty(n, 64, 99, 99), torch.empty(8, 64, 3, 3), None, 1, 1, 1, 1
            )
            for n in (16, 1)
        )
    row = {(_conv_routes.shape_class(large), "contiguous", "inference"): algorithm}
    monkeypatch.setattr(_conv_routes, "_TABLE", row)
    assert choose(small) == algorithm
    assert choose(large) == "torch"


def test_no_table_costs_accuracy_where_products_are_rounded(monkeypatch):
    c = convolution_of(2, torch.randn(1, 4, 9, 9), torch.randn(8, 4, 3, 3), None, 1, 1, 1, 1)
    row = {(_conv_routes.shape_class(c), "contiguous", "inference"): "winograd2"}
    monkeypatch.setattr(_conv_routes, "_TABLE", row)
    assert choose(c) == "winograd2"
    monkeypatch.setattr(_conv_routes, "multiplies_in_bf16", lambda: True)
    assert choose(c) == "torch"


def frozen_conv(input, weight):
    with torch.no_grad():
        return pyfast.dilated_conv2d(input, weight, padding=1, algorithm="winograd2")


@pytest.mark.parametrize(
    "trace", [lambda *a: torch.jit.trace(frozen_conv, a), make_fx(frozen_conv)], ids=["jit", "fx"]
)
def test_transformed_weights_are_no_part_of_a_trace(trace):
    input, weight, other = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3), torch.randn(4, 4, 3, 3)
    frozen_conv(input, weight)
    traced = trace(input, weight)
    torch.testing.assert_close(traced(input, other), F.conv2d(input, other, padding=1))


def test_transformed_weights_of_a_fake_are_not_kept():
    input, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert frozen_conv(mode.from_tensor(input), weight).shape == input.shape
    torch.testing.assert_close(frozen_conv(input, weight), F.conv2d(input, weight, padding=1))


@pytest.mark.parametrize("dilation", [10**5, 2**61])
@pytest.mark.parametrize("groups", [1, 4])
def test_taps_far_outside_take_no_memory(dilation, groups):
    input, weight = torch.randn(1, 4, 512, 600), torch.randn(4, 4 // groups, 3, 3)
    found = convolution_of(2, input, weight, None, 1, dilation, dilation, groups)
    assert found is None or choose(found) == "torch"
    result = pyfast.dilated_conv2d(input, weight, None, 1, dilation, dilation, groups)
    torch.testing.assert_close(result, F.conv2d(input, weight[:, :, 1:2, 1:2], None, groups=groups))
