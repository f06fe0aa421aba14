"""The convolution layers against those they are named after."""

import pytest
import torch
from torch import nn

import pyfast.nn

LAYERS = [
    (pyfast.nn.DilatedConv1d, nn.Conv1d, (4, 20)),
    (pyfast.nn.DilatedConv2d, nn.Conv2d, (4, 11, 12)),
]


@pytest.mark.parametrize(("ours", "of_torch", "shape"), LAYERS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("options", [{"padding": 2}, {"padding": "same"}, {"stride": 2}, {}])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_layer_equals_that_of_torch(ours, of_torch, shape, padding_mode, options, groups):
    arguments = {"dilation": 2, "groups": groups, "padding_mode": padding_mode, **options}
    layer, peer = ours(4, 4, 3, **arguments), of_torch(4, 4, 3, **arguments)
    layer.load_state_dict(peer.state_dict())
    for input in (torch.randn(shape), torch.randn(2, *shape)):
        torch.testing.assert_close(layer(input), peer(input))
    layer(input).sum().backward()
    peer(input).sum().backward()
    for mine, other in zip(layer.parameters(), peer.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize(("ours", "of_torch", "shape"), LAYERS)
def test_a_layer_says_what_it_is(ours, of_torch, shape):
    layer = ours(4, 8, 3, dilation=2, bias=False)
    assert layer.state_dict().keys() == {"weight"}
    assert "dilation=" in repr(layer)
    assert isinstance(layer, of_torch)


def test_a_layer_takes_the_algorithm_that_is_set():
    layer = pyfast.nn.DilatedConv2d(4, 4, 3, padding=2, dilation=2)
    layer.algorithm = "depthwise"
    with pytest.raises(ValueError, match="as many groups"):
        layer(torch.rand(1, 4, 9, 9))
    layer.algorithm = "winograd4"
    assert layer(torch.rand(1, 4, 9, 9)).shape == (1, 4, 9, 9)
