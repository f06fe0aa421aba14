"""nn.SpatialTransformer: the identity at first, whoever initialises the model; and the rest."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyfast
from pyfast.nn import SpatialTransformer
from pyfast.nn._transforms import control_points
from pyfast.nn.spatial_transformer import TransformHead

TRANSFORMS = ["affine", "attention", "translation", "similarity", "projective", "tps"]
IDENTITIES = {"projective": torch.eye(3), "tps": control_points(4)}


def localisation() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU())


def image(*shape: int) -> Tensor:
    return torch.rand(shape or (2, 3, 20, 17), generator=torch.Generator().manual_seed(0))


def trained(module: SpatialTransformer) -> SpatialTransformer:
    """The module with a head that is away from the identity."""
    module(image())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("align_corners", [False, True])
def test_starts_as_the_identity(transform: str, align_corners: bool) -> None:
    module = SpatialTransformer(localisation(), transform=transform, align_corners=align_corners)
    output, theta = module(image(), return_theta=True)
    identity = IDENTITIES.get(transform, torch.eye(2, 3))
    torch.testing.assert_close(theta, identity.expand(2, *identity.shape))
    torch.testing.assert_close(output, image(), rtol=0, atol=1e-5)


def by_type(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.constant_(module.bias, 0.3)


def by_attribute(module: nn.Module) -> None:
    if getattr(module, "weight", None) is not None:
        nn.init.normal_(module.weight)
    if getattr(module, "bias", None) is not None:
        nn.init.normal_(module.bias)


def by_class_name(module: nn.Module) -> None:
    if any(word in type(module).__name__ for word in ("Linear", "Conv", "Norm")):
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter)


def by_reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def apply(init: Callable[[nn.Module], None]) -> Callable[[nn.Module], object]:
    return lambda model: model.apply(init)


def by_dimensions(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def by_parameter_name(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if "weight" in name or "bias" in name:
            nn.init.normal_(parameter)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "initialise",
    [
        apply(by_type),
        apply(by_attribute),
        apply(by_class_name),
        apply(by_reset),
        by_dimensions,
        by_parameter_name,
    ],
    ids=["type", "attribute", "class-name", "reset", "dimensions", "parameter-name"],
)
def test_identity_survives_initialisation_by_others(
    initialise: Callable[[nn.Module], object], lazy: bool
) -> None:
    model = nn.Sequential(SpatialTransformer(localisation()), nn.Conv2d(3, 2, 3))
    if not lazy or initialise is by_dimensions:  # a lazy parameter has no dimensions to ask for
        model(image())
    initialise(model)
    _, theta = model[0](image(), return_theta=True)
    torch.testing.assert_close(theta, torch.eye(2, 3).expand(2, 2, 3), rtol=0, atol=0)


def test_parameters_mean_what_the_documentation_says() -> None:
    def theta_of(transform: str, parameters: list[float]) -> Tensor:
        module = SpatialTransformer(nn.Flatten(), transform=transform, in_features=4, scale=0.5)
        with torch.no_grad():
            module.head.offset.copy_(torch.tensor(parameters))
        return module.localise(torch.zeros(1, 1, 2, 2))[0]

    torch.testing.assert_close(
        theta_of("affine", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        torch.tensor([[1.1, 0.2, 0.3], [0.4, 1.5, 0.6]]),
    )
    torch.testing.assert_close(
        theta_of("attention", [-0.5, 0.2, 0.3]), torch.tensor([[0.5, 0, 0.2], [0, 0.5, 0.3]])
    )
    torch.testing.assert_close(
        theta_of("translation", [0.2, 0.3]), torch.tensor([[0.5, 0, 0.2], [0, 0.5, 0.3]])
    )
    torch.testing.assert_close(
        theta_of("similarity", [math.log(2), math.pi / 2, 0.2, 0.3]),
        torch.tensor([[0.0, -2, 0.2], [2, 0, 0.3]]),
    )


@pytest.mark.parametrize("size", [None, 9, (5, 7)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_resamples_as_torch_does(
    size: int | tuple[int, int] | None, mode: str, padding_mode: str, align_corners: bool
) -> None:
    module = trained(
        SpatialTransformer(
            localisation(),
            size,
            mode=mode,
            padding_mode=padding_mode,
            align_corners=align_corners,
        )
    ).double()  # in float32 rounding might decide which pixel is the nearest
    input = image().double()
    output, theta = module(input, return_theta=True)
    wanted_size = {None: (20, 17), 9: (9, 9)}.get(size, size)
    grid = F.affine_grid(theta, [2, 3, *wanted_size], align_corners)
    torch.testing.assert_close(
        output, F.grid_sample(input, grid, mode, padding_mode, align_corners)
    )


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_backends_agree_on_output_and_gradients(transform: str) -> None:
    fast = trained(SpatialTransformer(localisation(), (11, 13), transform)).double()
    plain = copy.deepcopy(fast)
    plain.backend = "torch"
    gradients = []
    for module in (fast, plain):
        input = image().double().requires_grad_()
        module(input).square().sum().backward()
        gradients.append([input.grad, *(parameter.grad for parameter in module.parameters())])
    torch.testing.assert_close(fast(image().double()), plain(image().double()))
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("whole", [False, True], ids=["image alone", "whole module"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_backends_agree_in_half_precision(transform: str, dtype: torch.dtype, whole: bool) -> None:
    """Above 2^11 / 2 pixels a coordinate in float16 would be off by whole pixels."""
    wide = torch.rand(1, 1, 3, 5000).to(dtype)
    fast = SpatialTransformer(nn.AdaptiveAvgPool2d(1), None, transform, in_features=1)
    with torch.no_grad():
        fast.head.offset.fill_(0.01)
    fast = fast.to(dtype) if whole else fast
    plain = copy.deepcopy(fast)
    plain.backend = "torch"
    output = fast(wide)
    assert output.dtype == plain(wide).dtype == dtype
    torch.testing.assert_close(output.float(), plain(wide).float(), rtol=0, atol=0.02)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_training_moves_the_transform(transform: str) -> None:
    torch.manual_seed(0)
    module = SpatialTransformer(localisation(), transform=transform)
    input = F.interpolate(image(4, 3, 4, 4), (24, 24), mode="bicubic")
    scale = 1.0 if transform == "translation" else 0.8
    theta = torch.tensor([[scale, 0, 0.1], [0, scale, -0.1]]).expand(4, 2, 3)
    grid = F.affine_grid(theta, [4, 3, 24, 24], align_corners=False)
    target = F.grid_sample(input, grid, align_corners=False)
    module(input)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(module(input), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_identical_first_gradient_to_a_zeroed_linear_head() -> None:
    """The head learns as the paper's does: a linear layer whose weight starts at zero."""
    # At size (9, 8) no sample lies on a pixel's centre, where bilinear interpolation has a kink.
    module = SpatialTransformer(nn.Flatten(), (9, 8), in_features=3 * 20 * 17)
    module(image()).square().sum().backward()
    linear = nn.Linear(3 * 20 * 17, 6)
    nn.init.zeros_(linear.weight)
    with torch.no_grad():
        linear.bias.copy_(torch.eye(2, 3).flatten())
    theta = linear(image().flatten(1)).view(-1, 2, 3)
    grid = F.affine_grid(theta, [2, 3, 9, 8], align_corners=False)
    F.grid_sample(image(), grid, align_corners=False).square().sum().backward()
    torch.testing.assert_close(
        module.head.slope.grad.view(6, -1), linear.weight.grad, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(module.head.offset.grad, linear.bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["pyfast", "torch"])
@pytest.mark.parametrize("size", [None, (8, 9)])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_several_transforms_of_one_localisation(transform: str, size: Any, backend: Any) -> None:
    """Each is what a module with its part of the head does."""
    torch.manual_seed(0)
    several = trained(
        SpatialTransformer(
            localisation(), size, transform=transform, count=3, in_features=120, backend=backend
        )
    )
    output, theta = several(image(), return_theta=True)
    assert output.shape == (2, 3, 3, *(size or (20, 17)))
    assert theta.shape[:2] == (2, 3)
    parameters = several.head.out_features // 3
    for k in range(3):
        one = SpatialTransformer(
            several.localisation, size, transform=transform, in_features=120, backend=backend
        ).eval()
        rows = slice(k * parameters, (k + 1) * parameters)
        with torch.no_grad():
            one.head.slope.copy_(several.head.slope.view(-1, 120)[rows].flatten())
            one.head.offset.copy_(several.head.offset[rows])
        torch.testing.assert_close(output[:, k], one(image()))
    loss = several(image()).square().sum()
    assert torch.autograd.grad(loss, several.head.slope)[0].isfinite().all()


def test_control_points_are_moved() -> None:
    """The third parameter pair of a 3 x 3 spline moves the upper right corner."""
    module = SpatialTransformer(localisation(), (21, 21), "tps", points=3, align_corners=True)
    module(image())
    with torch.no_grad():
        module.head.offset.copy_(torch.tensor([0.0] * 4 + [0.25, -0.5] + [0.0] * 12))
    theta = module.localise(image())
    torch.testing.assert_close(theta[0, 2], torch.tensor([1.25, -1.5]))
    assert module.spline is not None
    grid = module.spline(theta)
    torch.testing.assert_close(grid[0, 0, 20], torch.tensor([1.25, -1.5]))
    for row, column in ((0, 0), (10, 10), (20, 20)):
        still = torch.tensor([column / 10 - 1, row / 10 - 1])
        torch.testing.assert_close(grid[0, row, column], still, rtol=0, atol=1e-6)


def test_a_projective_transform_is_a_homography() -> None:
    module = trained(SpatialTransformer(localisation(), 9, "projective"))
    output, theta = module(image(), return_theta=True)
    torch.testing.assert_close(output, pyfast.homography_grid_sample(image(), theta, (9, 9)))
    assert (theta[:, 2, 2] == 1).all()


@pytest.mark.parametrize("source_lazy", [False, True])
@pytest.mark.parametrize("target_lazy", [False, True])
def test_state_dict_round_trip(source_lazy: bool, target_lazy: bool) -> None:
    features = localisation()(image()).flatten(1).shape[1]

    def build(lazy: bool) -> SpatialTransformer:
        return SpatialTransformer(localisation(), 8, in_features=None if lazy else features)

    source, target = trained(build(source_lazy)), build(target_lazy).eval()
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(target(image()), source(image()), rtol=0, atol=0)


@pytest.mark.parametrize("before_first_call", [False, True])
def test_deepcopy_is_independent(before_first_call: bool) -> None:
    source = SpatialTransformer(localisation())
    if not before_first_call:
        source = trained(source)
    duplicate = trained(copy.deepcopy(source))
    with torch.no_grad():
        duplicate.head.offset += 1
    _, theta = source(image(), return_theta=True)
    assert not torch.equal(theta, duplicate.localise(image()))
    assert isinstance(source.head, TransformHead)


def test_predicts_in_full_precision_under_autocast() -> None:
    module = trained(SpatialTransformer(localisation(), 12))
    plain = module(image())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, theta = module(image(), return_theta=True)
    assert theta.dtype == torch.float32
    torch.testing.assert_close(output.float(), plain, rtol=0.05, atol=0.05)


def test_double_and_channels_last() -> None:
    module = trained(SpatialTransformer(localisation(), 12)).double()
    input = image().double()
    output = module(input)
    assert output.dtype == torch.float64
    torch.testing.assert_close(module(input.to(memory_format=torch.channels_last)), output)


def test_gradcheck() -> None:
    module = trained(SpatialTransformer(nn.AdaptiveAvgPool2d(2), (3, 4), "similarity")).double()
    input = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (input,))


def test_compiles_without_a_graph_break() -> None:
    module = trained(SpatialTransformer(localisation(), 12))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image()), module(image()))


def test_empty_batch() -> None:
    module = trained(SpatialTransformer(localisation(), 12))
    assert module(image()[:0]).shape == (0, 3, 12, 12)


def test_what_overwrites_every_parameter_overwrites_the_head_and_reset_brings_it_back() -> None:
    module = SpatialTransformer(localisation(), in_features=4 * 6 * 5)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    assert not torch.equal(module.localise(image()), torch.eye(2, 3).expand(2, 2, 3))
    module.head.reset_parameters()
    torch.testing.assert_close(module.localise(image()), torch.eye(2, 3).expand(2, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"transform": "shear"}, ValueError, "transform to be one of affine, .* got 'shear'"),
        ({"transform": "afine"}, ValueError, r"got 'afine'; did you mean 'affine'\?"),
        ({"transform": None}, ValueError, "transform to be one of affine, .* got None"),
        ({"backend": "jax"}, ValueError, "backend to be one of pyfast, torch, got 'jax'"),
        ({"mode": "cubic"}, ValueError, "of bilinear, nearest, bicubic, got 'cubic'"),
        ({"padding_mode": "zero"}, ValueError, r"got 'zero'; did you mean 'zeros'\?"),
        ({"align_corners": "yes"}, TypeError, "align_corners to be True, False or None"),
        ({"localisation": "relu"}, TypeError, "localisation to be a torch.nn.Module, got 'relu'"),
        ({"localisation": nn.ReLU}, TypeError, "localisation to be a torch.nn.Module, got <class"),
        ({"localisation": None}, TypeError, "localisation to be a torch.nn.Module, got None"),
        ({"size": 0}, ValueError, r"positive sizes, got \(0, 0\)"),
        ({"size": (4, -1)}, ValueError, r"positive sizes, got \(4, -1\)"),
        ({"size": 2**40}, ValueError, "a size that memory can hold, got"),
        ({"size": 4.0}, TypeError, "size to be a tuple of integers, got 4.0"),
        ({"size": True}, TypeError, "size to be a tuple of integers, got True"),
        ({"size": (4, 5.0)}, TypeError, "size to hold integers, got 5.0"),
        ({"size": b"44"}, TypeError, "size to be a tuple of integers, got b'44'"),
        ({"size": (1, 3, 4, 5)}, ValueError, r"size \(H, W\), got \(1, 3, 4, 5\)"),
        ({"count": 0}, ValueError, "count to be positive, got 0"),
        ({"count": 1.5}, TypeError, "count to be an integer, got 1.5"),
        ({"points": 1}, ValueError, "points of at least 2, got 1"),
        ({"points": "4"}, TypeError, "points to be an integer, got '4'"),
        ({"scale": 0}, ValueError, "scale to be above 0, got 0"),
        ({"scale": math.nan}, ValueError, "scale to be above 0, got nan"),
        ({"scale": math.inf}, ValueError, "scale to be above 0, got inf"),
        ({"scale": "1"}, TypeError, "scale to be a number, got '1'"),
        ({"scale": True}, TypeError, "scale to be a number, got True"),
        ({"in_features": 0}, ValueError, "in_features to be positive, got 0"),
        ({"in_features": 4.0}, TypeError, "in_features to be an integer, got 4.0"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named_at_once(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^SpatialTransformer: expected .*{text}"):
        SpatialTransformer(**{"localisation": localisation(), **arguments})


def test_features_of_a_wrong_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"features of shape \(2, ...\).* got \(2040,\)"):
        SpatialTransformer(nn.Flatten(0))(image())


@pytest.mark.parametrize("transform", ["affine", "projective", "tps"])
@pytest.mark.parametrize("backend", ["pyfast", "torch"])
@pytest.mark.parametrize(
    ("input", "error", "text"),
    [
        (image().numpy(), TypeError, "input to be a torch.Tensor, got numpy.ndarray"),
        (None, TypeError, "input to be a torch.Tensor, got builtins.NoneType"),
        (image().to_sparse(), TypeError, "input to be a dense torch.Tensor, got one that is"),
        (image().long(), TypeError, "input of float16, .*, got torch.int64"),
        (image()[0], ValueError, r"input of shape \(N, C, H, W\) .* got \(3, 20, 17\)"),
        (image()[None], ValueError, r"input of shape \(N, C, H, W\) .* got \(1, 2, 3, 20, 17\)"),
        (image()[:, :, :0], ValueError, r"with H and W from 1, got \(2, 3, 0, 17\)"),
        (image()[..., 1:], ValueError, "to return 1020 features of an image.* got 960"),
    ],
    ids=["array", "none", "sparse", "integers", "rank 3", "rank 5", "no rows", "another size"],
)
def test_wrong_inputs_are_named(
    input: Any, error: type[Exception], text: str, transform: Any, backend: Any
) -> None:
    module = SpatialTransformer(nn.Flatten(), 8, transform, in_features=1020, backend=backend)
    with pytest.raises(error, match=f"^SpatialTransformer: expected .*{text}"):
        module(input)


def test_a_localisation_that_returns_no_tensor_is_named() -> None:
    with pytest.raises(TypeError, match=r"localisation returns to be a torch\.Tensor, got"):
        SpatialTransformer(nn.MaxPool2d(2, return_indices=True))(image())


def test_the_number_of_features_is_that_of_the_first_input() -> None:
    module = SpatialTransformer(nn.Flatten())
    module(image())
    with pytest.raises(ValueError, match="to return 1020 features of an image, as at first"):
        module(image()[..., 1:])
