"""PyTorch's own samples and error inputs of its convolutions, put to ours."""

import pytest
import torch
import torch.nn.functional as F
from torch_samples import info_of

import pyfast
from pyfast.ops._conv_routes import ALGORITHMS
from pyfast.ops._convolution import convolution_of

pytest.importorskip("expecttest")  # which PyTorch's samples are imported with

NAMES = {"nn.functional.conv1d": "dilated_conv1d", "nn.functional.conv2d": "dilated_conv2d"}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64]


def call(function, sample, **options):
    return function(sample.input, *sample.args, **sample.kwargs, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_samples_equal_torch(name, dtype):
    info, ours, count = info_of(name), getattr(pyfast, NAMES[name]), 0
    for sample in info.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point):
        torch.testing.assert_close(call(ours, sample), call(info.op, sample))
        count += 1
    assert count > 5


def test_samples_equal_torch_by_every_algorithm_that_takes_them():
    taken = set()
    for sample in info_of("nn.functional.conv2d").sample_inputs(
        "cpu", torch.float64, requires_grad=False
    ):
        weight, bias = sample.args
        given = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | sample.kwargs
        c = convolution_of(2, sample.input, weight, bias, **given)
        for name in () if c is None else ALGORITHMS:
            if ALGORITHMS[name].can(c):
                result = call(pyfast.dilated_conv2d, sample, algorithm=name)
                torch.testing.assert_close(result, call(F.conv2d, sample), rtol=1e-9, atol=1e-9)
                taken.add(name)
    assert taken == {"torch", "other_layout", "depthwise", "direct", "winograd2", "winograd4"}


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_are_refused_as_by_torch(name):
    info, ours, count = info_of(name), getattr(pyfast, NAMES[name]), 0
    for wrong in info.error_inputs("cpu"):
        with pytest.raises(wrong.error_type, match=wrong.error_regex):
            call(ours, wrong.sample_input)
        with pytest.raises(
            wrong.error_type, match=f"^{NAMES[name]}: (.|\\n)*Got input .*, weight "
        ):
            call(ours, wrong.sample_input)
        count += 1
    assert count > 5
