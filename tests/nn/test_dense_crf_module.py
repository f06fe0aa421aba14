"""nn.DenseCRF: its presets, what it learns, what it saves."""

import copy
import io
import itertools

import pytest
import torch
from torch import Tensor, nn

import pyfast
from pyfast.nn import DenseCRF
from pyfast.nn.dense_crf import LEARNABLE, PRESETS

NAMES = {"weights": "weights", "sigmas": "log_sigmas", "compatibility": "compatibility"}


def scene(labels: int = 3, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Energies of noisy halves, and the picture of halves."""
    generator = torch.Generator().manual_seed(0)
    image = torch.full((batch, 3, 12, 16), 60.0)
    image[..., 8:] = 180
    image += 4 * torch.randn(image.shape, generator=generator)
    unary = torch.randn(batch, labels, 12, 16, generator=generator)
    unary[:, 0, :, :8] -= 1
    unary[:, 1, :, 8:] -= 1
    return unary, image


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_call_of_the_function(preset: str) -> None:
    numbers = PRESETS[preset]
    unary, image = scene()
    wanted = pyfast.dense_crf(
        unary,
        image,
        bilateral_sigma_xy=numbers.bilateral_sigma_xy,
        bilateral_sigma_rgb=numbers.bilateral_sigma_rgb,
        gaussian_sigma=numbers.gaussian_sigma,
        bilateral_weight=numbers.bilateral_weight,
        gaussian_weight=numbers.gaussian_weight,
        iterations=numbers.iterations,
        normalization=numbers.normalization,
    )
    for learn in (LEARNABLE, ()):
        found = DenseCRF(3, learn, preset)(unary, image)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_numbers_of_presets() -> None:
    sizes = {name: (*preset[:5], preset.iterations) for name, preset in PRESETS.items()}
    assert sizes == {
        "deeplab_v2_resnet101": (67, 3, 1, 4, 3, 10),
        "deeplab_v2_vgg16": (65, 3, 2, 4, 2, 10),
        "pydensecrf": (80, 13, 3, 10, 3, 5),
        "crf_rnn": (160, 3, 3, 5, 3, 5),
    }


@pytest.mark.parametrize(
    "learn", [c for n in range(4) for c in itertools.combinations(LEARNABLE, n)]
)
def test_what_is_learned_gets_a_gradient(learn: tuple[str, ...]) -> None:
    module = DenseCRF(3, learn, "pydensecrf")
    assert {name for name, _ in module.named_parameters()} == {NAMES[name] for name in learn}
    unary, image = scene()
    unary.requires_grad_()
    module(unary, image)[:, 0].square().sum().backward()
    for tensor in (unary, *module.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_gradients_are_those_of_differences() -> None:
    unary, image = (tensor.double()[..., ::3, 4:12] for tensor in scene(batch=1))
    module = DenseCRF(3, preset="pydensecrf", iterations=2, method="exact").double()
    parameters = dict(module.named_parameters())

    def marginals(*values: Tensor) -> Tensor:
        named = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(module, named, (unary, image))[..., ::2, ::3]

    assert torch.autograd.gradcheck(marginals, tuple(parameters.values()))


@pytest.mark.parametrize("learn", [LEARNABLE, ("weights",), ()])
def test_states_are_saved_whole(learn: tuple[str, ...]) -> None:
    module = DenseCRF(3, learn, "crf_rnn")
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.mul_(1.1)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh = DenseCRF(3, learn, "pydensecrf", iterations=5, normalization="after")
    fresh.load_state_dict(torch.load(file))
    torch.testing.assert_close(fresh(*scene()), module(*scene()), rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(module)(*scene()), module(*scene()), rtol=0, atol=0)


def test_learned_and_fixed_states_fit_each_other() -> None:
    """What was learned is used fixed."""
    learned = DenseCRF(3, ("weights", "sigmas"))
    with torch.no_grad():
        learned.weights.copy_(torch.tensor([2.0, 1.0]))
    fixed = DenseCRF(3, ())
    fixed.load_state_dict(learned.state_dict())
    torch.testing.assert_close(fixed(*scene()), learned(*scene()))
    assert not list(fixed.parameters())


def test_a_fixed_matrix_of_costs() -> None:
    costs = torch.tensor([[-2.0, 1, 0], [1, -1, 0], [0, 0, -3]])
    module = DenseCRF(3, (), compatibility=costs)
    costs.zero_()
    assert "compatibility" in module.state_dict()
    potts = DenseCRF(3, ())
    assert "compatibility" not in potts.state_dict()
    found = module(*scene())
    assert (found - potts(*scene())).abs().max() > 1e-3
    assert DenseCRF(3, compatibility=-torch.eye(3)).compatibility.requires_grad


def test_it_is_a_layer() -> None:
    torch.manual_seed(0)  # from some weights the marginals start certain and wrong, beyond learning
    image = scene()[1]
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    crf = DenseCRF(3)
    optimiser = torch.optim.Adam([*network.parameters(), *crf.parameters()], lr=1e-2)
    labels = (torch.arange(16) >= 8).long().expand(2, 12, 16)
    losses = []
    for _ in range(12):
        marginals = crf(-network(image / 255), image)
        loss = nn.functional.nll_loss(marginals.clamp_min(1e-6).log(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert (crf.sigmas > 0).all()


def test_iterations_may_change_after_training() -> None:
    module = DenseCRF(3, ())
    module.iterations = 1
    one = module(*scene())
    module.iterations = 20
    assert not torch.equal(one, module(*scene()))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((0,), {}, ValueError, "num_labels to be positive"),
        (("3",), {}, TypeError, "num_labels to be an integer"),
        ((3, ("weight",)), {}, ValueError, "learn to be one of .* did you mean 'weights'"),
        ((3,), {"preset": "deeplab"}, ValueError, "preset to be one of deeplab_v2_resnet101"),
        ((3,), {"iterations": 0}, ValueError, "iterations to be positive"),
        ((3,), {"normalization": "row"}, ValueError, "normalization to be one of"),
        ((3,), {"method": "hash"}, ValueError, "method to be one of"),
        (
            (3,),
            {"compatibility": torch.zeros(2, 2)},
            ValueError,
            r"compatibility of shape \(3, 3\), got \(2, 2\)",
        ),
        ((3,), {"compatibility": [[1]]}, TypeError, "compatibility to be a torch.Tensor"),
        ((3,), {"compatibility": torch.ones(3, 3).long()}, TypeError, "compatibility of floats"),
        ((3, None), {}, TypeError, "learn to be a sequence of names, got None"),
    ],
)
def test_bad_arguments_are_explained(arguments, options, error, text) -> None:
    with pytest.raises(error, match=f"DenseCRF: expected {text}"):
        DenseCRF(*arguments, **options)


def test_another_number_of_labels_is_explained() -> None:
    with pytest.raises(ValueError, match=r"DenseCRF: expected unary of shape \(B, 4, H, W\)"):
        DenseCRF(4)(*scene())


def test_it_follows_a_network_under_autocast() -> None:
    crf = DenseCRF(4)
    unary, image = scene()
    unary = torch.randn(len(image), 4, *unary.shape[2:]).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        marginals = crf(unary, image)
    assert marginals.equal(crf(unary.float(), image))


def test_one_thing_to_learn_may_be_a_word() -> None:
    assert [name for name, _ in DenseCRF(3, "sigmas").named_parameters()] == ["log_sigmas"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_of_halves_widens(dtype):
    layer = DenseCRF(3, ("weights",)).to(dtype)
    unary, image = torch.rand(1, 3, 8, 9), 255 * torch.rand(1, 3, 8, 9)
    found = layer(unary.to(dtype), image.to(dtype))
    expected = layer.float()(unary.to(dtype).float(), image.to(dtype).float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    with pytest.raises(TypeError, match="expected unary of float32 or float64"):
        layer(unary.to(dtype), image)
