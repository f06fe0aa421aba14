"""The context module: published sizes, the identity that it starts as, and that it learns."""

import pytest
import torch
from torch import nn

from pyfast.nn import ContextModule

SIZES = ("basic", "large")


@pytest.mark.parametrize(("size", "count"), [("basic", 28_392), ("large", 6_803_139)])
def test_has_the_published_number_of_parameters(size, count):
    assert sum(p.numel() for p in ContextModule(21, size).parameters()) == count


@pytest.mark.parametrize("padding", ["layer", "front"])
@pytest.mark.parametrize("size", SIZES)
def test_starts_as_the_identity(size, padding):
    scores = torch.rand(2, 5, 23, 19)
    module = ContextModule(5, size, padding)
    if size == "basic":
        assert torch.equal(module(scores), scores)
        assert torch.equal(module(scores - 0.5), (scores - 0.5).relu())
    else:
        torch.testing.assert_close(module(scores), scores, rtol=0, atol=2e-6)


def test_copies_of_a_channel_learn_different_weights():
    torch.manual_seed(0)
    module = ContextModule(2, "large")
    module(torch.rand(1, 2, 8, 8)).square().sum().backward()
    for layer in list(module.layers)[:-1]:
        gradient = layer.weight.grad.unflatten(0, (2, -1))
        spread = (gradient - gradient.mean(1, keepdim=True)).abs().max()
        assert spread > 1e-3 * gradient.abs().max()


@pytest.mark.parametrize(("padding", "margin"), [("layer", 33), ("front", 33)])
def test_sees_67_pixels(padding, margin):
    module = ContextModule(1, padding=padding)
    for layer in module.layers:
        nn.init.ones_(layer.weight)
    scores = torch.zeros(1, 1, 2 * margin + 9, 2 * margin + 9, requires_grad=True)
    module(scores + 1)[0, 0, margin + 4, margin + 4].backward()
    seen = scores.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [67, 67]


@pytest.mark.parametrize("size", SIZES)
def test_backends_agree_in_results_gradients_and_state(size):
    ours, plain = (ContextModule(3, size, backend=backend) for backend in ("pyfast", "torch"))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.1)
    plain.load_state_dict(ours.state_dict())
    scores = torch.randn(1, 3, 12, 14)
    results = [module(scores) for module in (ours, plain)]
    torch.testing.assert_close(*results)
    gradients = [
        torch.autograd.grad(result.square().sum(), module.parameters())
        for result, module in zip(results, (ours, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_state_is_that_of_eight_convolutions():
    names = [f"layers.{i}.{part}" for i in range(8) for part in ("weight", "bias")]
    assert list(ContextModule(2).state_dict()) == names


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((0,), ValueError, "channels to be positive"),
        ((2.5,), TypeError, "channels to be an integer"),
        ((2, "huge"), ValueError, "size to be one of basic, large"),
        ((2, "basic", "none"), ValueError, "padding to be one of layer, front"),
    ],
)
def test_wrong_arguments(arguments, error, match):
    with pytest.raises(error, match=f"^ContextModule: expected {match}"):
        ContextModule(*arguments)
