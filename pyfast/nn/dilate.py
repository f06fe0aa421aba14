"""Turns the strides of a network into dilations.

Reference: Chen et al.: DeepLab, 2016, section 3.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyfast.ops._checks import expect_count, expect_tensor

PROBE_SIDE = 256


@torch.no_grad()
def dilate_(
    model: nn.Module, output_stride: int = 8, *, example: Tensor | None = None
) -> nn.Module:
    """Lets a network for whole pictures give dense features, with the weights that it has.

    Where the features would be `output_stride` times smaller than the picture, strides become 1,
    and convolutions and poolings after them are dilated instead, so that they see what they saw.
    At the places that the network had before, its features stay the same up to rounding, except
    that an even kernel no longer fits as often at the edges.

    The network is run once to see where it makes pictures smaller, by its `nn.Conv2d`,
    `nn.MaxPool2d` and `nn.AvgPool2d`, and once to see that it still runs. Strides in
    `torch.nn.functional` stay. Suited are backbones like those of torchvision and timm.

    Args:
        model: changed in place.
        output_stride: a power of two, as a rule 8 or 16.
        example: what the model is run with, (N, C, H, W). None: zeros of 256 x 256, with as many
            channels as its first convolution takes.

    Returns:
        `model`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: `output_stride` is no power of two, or the model holds no `nn.Conv2d`, or an
            average pooling would have to be dilated, or a layer is used at several strides, or the
            model does not run with its strides changed; it is then left as it was.

    Example:
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
        ... )
        >>> dilate_(model, output_stride=2)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 4, 32, 32])
        >>> model[2].dilation
        (2, 2)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"dilate_: expected model to be a torch.nn.Module, got {model!r}")
    expect_count("dilate_", "output_stride", output_stride)
    if output_stride & (output_stride - 1):
        raise ValueError(f"dilate_: expected output_stride a power of two, got {output_stride}")
    if example is not None:
        expect_tensor("dilate_", "example", example)
        if example.dim() != 4:
            raise ValueError(
                f"dilate_: expected example of shape (N, C, H, W), got {tuple(example.shape)}"
            )
    if example is None:
        example = _probe(model)
    changes = [
        _change(name, module, stride, output_stride)
        for name, module, stride in _strides(model, example)
    ]
    before = [(module, {name: getattr(module, name) for name in new}) for module, new in changes]
    _set(changes)
    try:
        _run(model, example)
    except Exception as error:  # all or nothing
        _set(before)
        raise ValueError(
            "dilate_: expected a model that runs without these strides, where even windows give a "
            f"pixel less, got: {error}"
        ) from error
    return model


def _set(changes: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    for module, settings in changes:
        for attribute, value in settings.items():
            setattr(module, attribute, value)


def _probe(model: nn.Module) -> Tensor:
    """Zeros of the size of a picture, for the first convolution."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError("dilate_: expected a model with an nn.Conv2d, found none")
    shape = (1, first.in_channels, PROBE_SIDE, PROBE_SIDE)
    return torch.zeros(shape, dtype=first.weight.dtype, device=first.weight.device)


def _run(model: nn.Module, example: Tensor) -> None:
    """As in evaluation: batch norm must not learn from it."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()(example)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _strides(model: nn.Module, example: Tensor) -> list[tuple[str, nn.Module, int]]:
    """(name, layer, how much smaller than the picture its input is), of layers with a window."""
    side = max(example.shape[2:])
    found: dict[nn.Module, int] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        stride = _power_near(side / max(inputs[0].shape[2:]))
        if found.setdefault(module, stride) != stride:
            raise ValueError(f"dilate_: expected {module} at one stride, found it at two")

    names: dict[nn.Module, str] = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d))
        and (max(_pair(module.kernel_size)) > 1 or max(_pair(module.stride)) > 1)
    }
    hooks = [module.register_forward_pre_hook(look) for module in names]
    try:
        _run(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return [(names[module], module, stride) for module, stride in found.items()]


def _change(
    name: str, module: nn.Module, stride: int, output_stride: int
) -> tuple[nn.Module, dict[str, Any]]:
    """What a layer becomes whose input is `stride` times smaller than the picture."""
    assert isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d))
    rate = max(1, stride // output_stride)
    kept = max(1, output_stride // stride)
    strides = tuple(min(s, kept) for s in _pair(module.stride))
    if rate == 1 and strides == _pair(module.stride):
        return module, {}
    if isinstance(module, nn.AvgPool2d) and max(_pair(module.kernel_size)) > 1 and rate > 1:
        raise ValueError(
            f"dilate_: expected no average pooling where layers are dilated, found {name}"
        )
    settings: dict[str, Any] = {"stride": strides}
    if rate == 1:
        return module, settings
    settings["dilation"] = tuple(rate * d for d in _pair(module.dilation))
    # What wider windows need around the input, and so the same places as before.
    if not isinstance(module.padding, str):
        settings["padding"] = tuple(rate * p for p in _pair(module.padding))
    if isinstance(module, nn.Conv2d):
        each_side = module._reversed_padding_repeated_twice
        settings["_reversed_padding_repeated_twice"] = [rate * p for p in each_side]
    return module, settings


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _power_near(ratio: float) -> int:
    power = 1
    while power * 2**0.5 < ratio:
        power *= 2
    return power
