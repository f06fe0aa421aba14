"""What systems for segmentation promise, each beside what has to lose.

Networks learn from generated scenes; the mean IoU over their labels is of 64 others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pyfast._threads import one_thread
from pyfast.data import Scenes
from pyfast.nn import ContextModule, DenseCRF
from pyfast.zoo.claims import Measured, claim, seeded, trained
from pyfast.zoo.registry import create_model, find
from pyfast.zoo.segmentation import crf_rnn, deeplab, dilatednet  # noqa: F401  (claims need names)

# Halves of objects' sides over the picture's, which together are those of `Scenes`.
SIZES = {"small": (0.08, 0.13), "middle": (0.13, 0.21), "large": (0.21, 0.35)}


def mean_iou(model: Any, scenes: Any = None, **options: Any) -> float:
    """On test scenes, by default the model's; options as `Segmenter.probabilities` takes them."""
    scenes = model.dataset("test") if scenes is None else scenes
    with one_thread():
        iou: float = model.evaluate(DataLoader(scenes, len(scenes)), **options)["miou"]
    return iou


@claim(
    "deeplabv2_vgg16",
    "atrous convolution and four rates beat poolings and up-sampling (mean IoU)",
    target=0.5,
    margin=0.08,
    seconds=60,
)
def _atrous(seed: int) -> Measured:
    pooled = trained("deeplabv2_vgg16.tiny", seed, atrous=False)
    return Measured(mean_iou(trained("deeplabv2_vgg16.tiny", seed)), mean_iou(pooled))


@claim(
    "deeplabv2_vgg16",
    "four rates beat the single one of a large field of view on small, middle and large objects "
    "(mean IoU over the three; baseline: one branch at rate 2)",
    target=0.5,
    margin=0.04,
    seconds=45,
)
def _rates(seed: int) -> Measured:
    models = [trained("deeplabv2_vgg16.tiny", seed, **one) for one in ({}, {"rates": (2,)})]
    return Measured(*(sum(iou_by_size(model).values()) / len(SIZES) for model in models))


def iou_by_size(model: Any) -> dict[str, float]:
    """Mean IoU on scenes whose objects are all small, of middle size or large."""
    return {
        name: mean_iou(model, Scenes("test", model.config.crop, halves=halves))
        for name, halves in SIZES.items()
    }


@claim(
    "deeplabv2_vgg16",
    "the dense CRF draws outlines that the network has lost (mean IoU; baseline: no CRF)",
    target=0.55,
    margin=0.03,
    seconds=45,
)
def _crf(seed: int) -> Measured:
    model = trained("deeplabv2_vgg16.tiny", seed)
    return Measured(mean_iou(model, crf=True), mean_iou(model))


@claim(
    "deeplabv2_vgg16",
    "five iterations of mean field are better than one (mean IoU)",
    target=0.55,
    margin=0.01,
    seconds=45,
)
def _iterations(seed: int) -> Measured:
    model = trained("deeplabv2_vgg16.tiny", seed)
    five, one = (_with_iterations(model.post_processing(), count) for count in (5, 1))
    return Measured(mean_iou(model, crf=five), mean_iou(model, crf=one))


def _with_iterations(crf: DenseCRF, count: int) -> DenseCRF:
    crf.iterations = count
    return crf


@claim(
    "crf_rnn",
    "a CRF trained with its network beats one put behind it (mean IoU; baseline: as many steps)",
    target=0.8,
    margin=0.03,
    seconds=60,
)
def _end_to_end(seed: int) -> Measured:
    base = trained("deeplabv2_vgg16.tiny", seed).state_dict()
    more: Any = {"steps": 100, "learning_rate": 0.01}
    joint = trained(
        "crf_rnn.tiny", seed, prepare=lambda model: model.network.load_state_dict(base), **more
    )
    apart = trained(
        "deeplabv2_vgg16.tiny", seed, prepare=lambda model: model.load_state_dict(base), **more
    )
    return Measured(mean_iou(joint), mean_iou(apart, crf=True))


@claim(
    "deeplab_v1",
    "atrous convolution beats poolings and up-sampling (mean IoU)",
    target=0.4,
    margin=0.08,
    seconds=45,
)
def _first(seed: int) -> Measured:
    pooled = trained("deeplab_v1.tiny", seed, atrous=False)
    return Measured(mean_iou(trained("deeplab_v1.tiny", seed)), mean_iou(pooled))


@claim(
    "deeplabv2_resnet101",
    "learns to segment scenes without pretrained weights (mean IoU; baseline: before training)",
    target=0.55,
    margin=0.3,
    seconds=40,
)
def _from_scratch(seed: int) -> Measured:
    name = "deeplabv2_resnet101.tiny"
    with seeded(seed):
        new = create_model(name)
    return Measured(mean_iou(trained(name, seed)), mean_iou(new))


@claim(
    "dilatednet_context_basic",
    "a new context module returns its scores (largest difference; baseline: N(0, .01) weights)",
    target=1e-5,
    margin=0.1,
    seconds=1,
    higher=False,
)
def _identity(seed: int) -> Measured:
    scores = torch.rand(1, 21, 40, 40, generator=torch.Generator().manual_seed(seed))
    with seeded(seed):
        modules = [ContextModule(21, size) for size in ("basic", "large")]  # type: ignore[arg-type]
        random_(other := ContextModule(21))
    with torch.no_grad():
        new = max((module(scores) - scores).abs().max().item() for module in modules)
        return Measured(new, (other(scores) - scores).abs().max().item())


@claim(
    "dilatednet_context_basic",
    "the context module looks at 67 scores in each direction (baseline: without dilations)",
    target=67,
    margin=50,
    seconds=1,
)
def _field(seed: int) -> Measured:
    with seeded(seed):
        dilated, plain = ContextModule(2), ContextModule(2)
    plain.dilations = (1,) * len(plain.dilations)
    return Measured(*(_view(module) for module in (dilated, plain)))


def _view(module: ContextModule) -> float:
    """Rows that the middle of the output depends on."""
    scores = torch.rand(1, 2, 99, 99, dtype=torch.float64, requires_grad=True)
    module = module.double()
    for layer in module.layers:
        assert isinstance(layer, nn.Conv2d)
        nn.init.constant_(layer.weight, 0.1)
    module(scores)[0, 0, 49, 49].backward()
    assert isinstance(scores.grad, Tensor)
    return float((scores.grad.abs().sum((0, 1, 3)) > 0).sum())


@claim(
    "dilatednet_context_basic",
    "trained context beats the front end that it stands on (mean IoU)",
    target=0.4,
    margin=0.04,
    seconds=20,
)
def _context(seed: int) -> Measured:
    model = trained("dilatednet_context_basic.tiny", seed)
    return Measured(mean_iou(model), mean_iou(_front_end(model)))


@claim(
    "dilatednet_context_basic",
    "a context module learns from the identity (mean IoU; baseline: from N(0, .01) weights)",
    target=0.4,
    margin=0.1,
    seconds=45,
)
def _from_the_identity(seed: int) -> Measured:
    name = "dilatednet_context_basic.tiny"
    other = trained(name, seed, prepare=_with_random_context)
    return Measured(mean_iou(trained(name, seed)), mean_iou(other))


def _with_random_context(model: Any) -> None:
    random_(model.context)


@claim(
    "dilatednet8",
    "context and joint training beat the front end that they start from (mean IoU)",
    target=0.4,
    margin=0.05,
    seconds=45,
)
def _three_stages(seed: int) -> Measured:
    steps = find("dilatednet8").config("tiny").front_end_steps
    front = trained("dilatednet_frontend.tiny", seed, steps=steps)
    return Measured(mean_iou(trained("dilatednet8.tiny", seed)), mean_iou(front))


def _front_end(model: Any) -> Any:
    """The front end of a whole DilatedNet, with its weights."""
    front = type(model)(model.config).eval()
    front.load_state_dict(model.state_dict())
    front.context = nn.Identity()
    return front


def random_(module: nn.Module) -> None:
    """Weights as networks have them that are not the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
