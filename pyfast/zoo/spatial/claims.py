"""What systems with spatial transformers promise, each beside the network that has to lose."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pyfast.nn import SpatialTransformer
from pyfast.zoo.claims import Measured, claim, seeded, trained
from pyfast.zoo.registry import create_model
from pyfast.zoo.spatial import stn_birds, stn_cnn, stn_svhn  # noqa: F401  (claims need names)

SAMPLES = 1000  # test images an accuracy is measured on
CNN = {"transform": None, "width": 32}  # with more parameters than the small transformer network


def accuracy(model: Any, data: Any = None) -> float:
    """On the first images of some test data, by default the model's own."""
    from torch.utils.data import Subset

    from pyfast.train import evaluate

    data = model.dataset("test") if data is None else data
    return evaluate(model, Subset(data, range(SAMPLES)))["accuracy"]


def compare(name: str, seed: int, **plain: Any) -> Measured:
    """A system in its tiny form, and with some fields replaced, both trained."""
    return Measured(accuracy(trained(name, seed)), accuracy(trained(name, seed, **plain)))


def _under_one_distortion(distortion: str, seed: int) -> Measured:
    from pyfast.data import DistortedDigits

    models = trained("stn_cnn.tiny", seed), trained("stn_cnn.tiny", seed, **CNN)
    data = DistortedDigits(distortion, "test", models[0].config.size)
    return Measured(*(accuracy(model, data) for model in models))


@claim(
    "stn_cnn",
    "reads turned, scaled and shifted digits better than a CNN with more parameters (accuracy)",
    target=0.7,
    margin=0.06,
    seconds=60,
)
def _all_distortions(seed: int) -> Measured:
    return compare("stn_cnn.tiny", seed, **CNN)


for _name, _word in {"rotation": "turned", "scale": "scaled", "shift": "shifted"}.items():
    claim(
        "stn_cnn",
        f"the same networks on digits that are only {_word} (accuracy)",
        target=0.75,
        margin=0.06,
        seconds=60,
    )(partial(_under_one_distortion, _name))


@claim(
    "stn_two_digits",
    "reads both of two digits with two transformers better than with one (accuracy)",
    target=0.44,
    margin=0.06,
    seconds=60,
)
def _two_digits(seed: int) -> Measured:
    return compare("stn_two_digits.tiny", seed, transformers=1)


@claim(
    "stn_birds_2x",
    "tells classes by two parts better with two parallel transformers than with one (accuracy)",
    target=0.8,
    margin=0.2,
    seconds=140,
)
def _two_parts(seed: int) -> Measured:
    return compare("stn_birds_2x.tiny", seed, transformers=1)


@claim(
    "stn_svhn_multi",
    "reads a digit over a photograph better with a transformer before each of four convolutions "
    "than with none (accuracy)",
    target=0.6,
    margin=0.04,
    seconds=110,
)
def _four_layers(seed: int) -> Measured:
    return compare("stn_svhn_multi.tiny", seed, transform=None)


@claim(
    "stn_svhn_single",
    "learns to read a digit over a photograph (accuracy; baseline: before training)",
    target=0.5,
    margin=0.4,
    seconds=75,
)
def _one_look(seed: int) -> Measured:
    name = "stn_svhn_single.tiny"
    with seeded(seed):
        new = create_model(name)
    return Measured(accuracy(trained(name, seed)), accuracy(new))


@claim(
    "stn_birds_4x",
    "tells classes by two parts better with four parallel transformers than with one (accuracy)",
    target=0.8,
    margin=0.2,
    seconds=150,
)
def _four_looks(seed: int) -> Measured:
    # With one transformer the two names are the same network: it is trained once for both.
    one = trained("stn_birds_2x.tiny", seed, transformers=1)
    return Measured(accuracy(trained("stn_birds_4x.tiny", seed)), accuracy(one))


@claim(
    "stn_cnn",
    "a new transformer returns its input (largest difference; baseline: a head at random)",
    target=1e-6,
    margin=0.1,
    seconds=1,
    higher=False,
)
def _identity(seed: int) -> Measured:
    image, transformer = _image_and_transformer(seed)
    new = (transformer(image) - image).abs().max().item()
    with torch.no_grad(), seeded(seed):
        nn.init.normal_(transformer.head.offset, std=0.3)
    return Measured(new, (transformer(image) - image).abs().max().item())


@claim(
    "stn_cnn",
    "the integer sampler of equation 4 is mode nearest (largest difference; baseline: bilinear)",
    target=1e-6,
    margin=0.1,
    seconds=1,
    higher=False,
)
def _integer_sampler(seed: int) -> Measured:
    image, transformer = _image_and_transformer(seed)
    with torch.no_grad(), seeded(seed):
        nn.init.normal_(transformer.head.offset, std=0.3)
    bilinear, theta = transformer(image, return_theta=True)
    transformer.mode = "nearest"
    wanted = integer_sampler(image, theta)
    differences = [(found - wanted).abs().max().item() for found in (transformer(image), bilinear)]
    return Measured(*differences)


def integer_sampler(image: Tensor, theta: Tensor) -> Tensor:
    """Equation 4: the pixel whose centre is nearest to where theta (N, 2, 3) points, or zero."""
    count, _, height, width = image.shape
    grid = nn.functional.affine_grid(theta, list(image.shape), align_corners=False)
    column = ((grid[..., 0] + 1) * width / 2 - 0.5).round().long()
    row = ((grid[..., 1] + 1) * height / 2 - 0.5).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    number = torch.arange(count)[:, None, None]
    pixels = image[number, :, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return (pixels * inside[..., None]).movedim(-1, 1)


def _image_and_transformer(seed: int) -> tuple[Tensor, SpatialTransformer]:
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        localisation = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
        transformer = SpatialTransformer(localisation, in_features=49).eval()
    return torch.rand(8, 1, 28, 28, generator=generator), transformer
