"""The array doors of depthwise convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pyfast._native import _C

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 12, 14))
WEIGHT = np.random.default_rng(1).standard_normal((3, 3, 2))
PADDING, DILATION = (2, 3), (3, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_doors_equal_torch(dtype):
    close = {"rtol": 1e-5, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}
    image, weight = IMAGE.astype(dtype), WEIGHT.astype(dtype)
    leaves = [torch.tensor(a, requires_grad=True) for a in (image, weight[:, None])]
    expected = F.conv2d(*leaves, None, 1, PADDING, DILATION, 3)
    output = _C.depthwise_conv2d(image, weight, PADDING, DILATION)
    np.testing.assert_allclose(output, expected.detach(), **close)
    grad = np.random.default_rng(2).standard_normal(output.shape).astype(dtype)
    of_image, of_weight = torch.autograd.grad(expected, leaves, torch.tensor(grad))
    found = _C.depthwise_conv2d_weight(image, grad, (3, 2), PADDING, DILATION)
    np.testing.assert_allclose(found, of_weight[:, 0], **close)
    rest = (3 * 2 - 2, 4 * 1 - 3)
    found = _C.depthwise_conv2d(grad, weight[:, ::-1, ::-1], rest, DILATION)
    np.testing.assert_allclose(found, of_image, **close)


def test_any_order_of_elements_is_read_and_out_is_written():
    last = np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    expected = _C.depthwise_conv2d(IMAGE, WEIGHT, PADDING, DILATION)
    out = np.empty_like(expected)
    assert _C.depthwise_conv2d(last, WEIGHT, PADDING, DILATION, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((IMAGE[0], WEIGHT, PADDING, DILATION), ValueError, r"input of shape \(N, C, H, W\)"),
        ((IMAGE, WEIGHT[:2], PADDING, DILATION), ValueError, r"weight of shape \(3, kernel_h"),
        ((IMAGE, WEIGHT.astype("f"), PADDING, DILATION), TypeError, "weight of the dtype of input"),
        ((IMAGE, WEIGHT, (-1, 0), DILATION), ValueError, r"padding \(height, width\) from 0"),
        ((IMAGE, WEIGHT, (1,), DILATION), ValueError, r"padding \(height, width\) from 0"),
        ((IMAGE, WEIGHT, PADDING, (0, 1)), ValueError, r"dilation \(height, width\) from 1"),
        ((IMAGE, WEIGHT, (0, 0), (6, 1)), ValueError, "a kernel no larger than the padded input"),
        ((IMAGE, WEIGHT, 1, DILATION), TypeError, "padding to be a tuple of integers"),
    ],
)
def test_bad_calls(arguments, error, match):
    with pytest.raises(error, match=f"^depthwise_conv2d: expected {match}"):
        _C.depthwise_conv2d(*arguments)


@pytest.mark.parametrize(
    ("grad", "kernel", "match"),
    [
        (IMAGE, (3, 2), r"grad_output of shape \(2, 3, 10, 16\)"),
        (IMAGE, (0, 2), r"kernel \(height, width\) from 1 to 64"),
    ],
)
def test_bad_calls_for_the_weight(grad, kernel, match):
    with pytest.raises(ValueError, match=f"^depthwise_conv2d_weight: expected {match}"):
        _C.depthwise_conv2d_weight(IMAGE, grad, kernel, PADDING, DILATION)


@pytest.mark.skipif(
    not (_C.with_cuda and torch.cuda.is_available()), reason="needs CUDA kernels and a GPU"
)
def test_on_a_gpu():
    image, weight = (torch.tensor(a, device="cuda") for a in (IMAGE, WEIGHT))
    expected = F.conv2d(image, weight[:, None], None, 1, PADDING, DILATION, 3)
    out = torch.empty_like(expected)
    stream = torch.cuda.current_stream().cuda_stream
    _C.depthwise_conv2d(image, weight, PADDING, DILATION, out=out, stream=stream)
    torch.testing.assert_close(out, expected)
    of_weight = torch.empty_like(weight)
    _C.depthwise_conv2d_weight(
        image, expected, (3, 2), PADDING, DILATION, out=of_weight, stream=stream
    )
    np.testing.assert_allclose(
        of_weight.cpu(),
        _C.depthwise_conv2d_weight(IMAGE, expected.cpu().numpy(), (3, 2), PADDING, DILATION),
        rtol=1e-10,
    )
