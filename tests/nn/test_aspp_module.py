"""The published forms of ASPP: shapes, states, parameter counts, both backends."""

import pytest
import torch
from torch import nn

import pyfast
from pyfast.nn import ASPP, ContextModule

FORMS = {
    "v2": ((8, 3), {}),
    "v2 on VGG": ((8, 3), {"hidden_channels": 6}),
    "v3": ((8, 4, (2, 4), "concat"), {"image_pooling": True}),
    "v3 without the mean": ((8, 4, (2, 4), "concat"), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_backends_agree_in_results_gradients_and_state(form):
    arguments, options = FORMS[form]
    ours, plain = (ASPP(*arguments, **options, backend=b).eval() for b in ("pyfast", "torch"))
    plain.load_state_dict(ours.state_dict())
    input = torch.randn(2, 8, 19, 23)
    results = [module(input) for module in (ours, plain)]
    assert results[0].shape == (2, arguments[1], 19, 23)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    gradients = [
        torch.autograd.grad(result.square().sum(), list(module.parameters()))
        for result, module in zip(results, (ours, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (ASPP(8, 3, (2, 4), hidden_channels=6), 2),
        (ASPP(8, 4, (2, 4), "concat"), 3),
        (ASPP(8, 3, (2, 4)), 2),
        (ContextModule(4), 6),  # three layers are the same call
    ],
    ids=["VGG", "concat", "sum", "context"],
)
def test_convolutions_follow_the_table_and_can_be_tuned(module, count):
    channels = next(module.parameters()).shape[1]
    routes = pyfast.autotune(module, torch.randn(1, channels, 9, 9), seconds=0.001)
    try:
        assert len(routes) == count
    finally:
        pyfast.Routes().install()


def test_parameter_counts_are_those_of_the_papers():
    count = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in (
            ("v2", ASPP(2048, 21)),
            ("vgg", ASPP(512, 21, hidden_channels=1024)),
            ("v3", ASPP(2048, 256, (6, 12, 18), "concat", image_pooling=True)),
        )
    }
    assert count["v2"] == 4 * (21 * 2048 * 9 + 21)
    assert count["vgg"] == 4 * (1024 * (512 * 9 + 1) + 1024 * 1025 + 21 * 1025)
    # Five branches with batch norm, and the projection with its own.
    features = 256 * 2048 * (1 + 3 * 9 + 1) + 5 * 2 * 256
    assert count["v3"] == features + 5 * 256 * 256 + 2 * 256


def test_names_of_the_states():
    assert list(ASPP(2, 3, (1,)).state_dict()) == ["branches.0.weight", "branches.0.bias"]
    fc = [f"branches.0.{fc}.{part}" for fc in ("fc6", "fc7", "fc8") for part in ("weight", "bias")]
    assert list(ASPP(2, 3, (1,), hidden_channels=4).state_dict()) == fc


def test_training_with_dropout_and_batch_norm():
    for arguments, options in FORMS.values():
        module = ASPP(*arguments, **options)
        input = torch.randn(2, 8, 11, 9)
        module(input).square().sum().backward()
        assert all(p.grad is not None for p in module.parameters())
    assert any(isinstance(m, nn.Dropout) for m in module.modules())


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((0, 3), {}, ValueError, "expected in_channels to be positive"),
        ((2, 3, ()), {}, ValueError, "expected at least one of rates"),
        ((2, 3, 6), {}, TypeError, "expected rates to be a sequence"),
        ((2, 3, (6, 0)), {}, ValueError, "expected rates to be positive"),
        ((2, 3, (6,), "mean"), {}, ValueError, "expected combine to be one of sum, concat"),
        ((2, 3), {"image_pooling": True}, ValueError, "expected image_pooling with combine='con"),
        (
            (2, 3, (6,), "concat"),
            {"hidden_channels": 4},
            ValueError,
            "expected hidden_channels with combine='sum' only",
        ),
    ],
)
def test_wrong_arguments(arguments, options, error, match):
    with pytest.raises(error, match=f"^ASPP: {match}"):
        ASPP(*arguments, **options)
