"""The context module of DilatedNet, which starts as the identity.

Reference: Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, 2016, section 3.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from pyfast.ops._checks import expect_choice, expect_count, expect_number
from pyfast.ops.context_module import PADDINGS, context_module, context_module_reference

SIZES = ("basic", "large")
LARGE = (2, 2, 4, 8, 16, 32, 32, 1)  # channels of the layers, as multiples of those of the input
SHALLOWEST = 5


class ContextModule(nn.Module):
    """Eight layers that look at 67 x 67 scores around each one, and start as the identity.

    Seven convolutions of 3 x 3 with dilations 1, 1, 2, 4, 8, 16, 1 and one of 1 x 1, with a ReLU
    after each but the last. Parameters are `layers.0.weight` to `layers.7.bias`. Another `depth`
    has fewer or more of the doubling dilations.

    On what is not negative the module at its start is the identity: the same bits for "basic", up
    to rounding for "large", where each channel goes through several copies. Copies with equal
    weights would get equal gradients and stay equal, so weights start with noise, which sums to
    zero over the copies of a channel and leaves the result as it is.

    Args:
        channels: of input and output, C; the number of classes.
        size: "basic", where all layers have C channels, or "large": 2C, 2C, 4C, 8C, 16C, 32C, 32C,
            C.
        padding: "layer", or "front" for all zeros around the input; see `pyfast.context_module`.
        noise: standard deviation of the weights where there are copies, relative to the weight
            that passes a copy on.
        depth: number of layers, 8 as published for Pascal VOC; 7 look at 35 x 35 scores (KITTI),
            10 at 259 x 259 (Cityscapes). "large" has 8.
        backend: "pyfast", or "torch" for plain PyTorch operators: for comparisons and for export.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a name is unknown or a number is out of its range.

    Reference: Yu, Koltun 2016, table 1 and equations 4 and 5.

    Example:
        >>> module, scores = ContextModule(21), torch.rand(1, 21, 20, 20)
        >>> torch.equal(module(scores), scores)
        True
        >>> sum(parameter.numel() for parameter in module.parameters())
        28392
    """

    def __init__(
        self,
        channels: int,
        size: Literal["basic", "large"] = "basic",
        padding: Literal["layer", "front"] = "layer",
        *,
        noise: float = 0.01,
        depth: int = 8,
        backend: Literal["pyfast", "torch"] = "pyfast",
    ) -> None:
        super().__init__()
        expect_count("ContextModule", "channels", channels)
        expect_choice("ContextModule", "size", size, SIZES)
        expect_choice("ContextModule", "padding", padding, PADDINGS)
        expect_number("ContextModule", "noise", noise, least=0)
        expect_count("ContextModule", "depth", depth)
        if depth < SHALLOWEST or (size == "large" and depth != len(LARGE)):
            raise ValueError(
                f"ContextModule: expected depth {SHALLOWEST} or more, and {len(LARGE)} for large, "
                f"got {depth}"
            )
        expect_choice("ContextModule", "backend", backend, ("pyfast", "torch"))
        self.channels = channels
        self.size = size
        self.padding = padding
        self.noise = noise
        self.backend = backend
        self.dilations = (1, 1, *(2**i for i in range(1, depth - 3)), 1, 1)
        widths = [channels * w for w in (1, *(LARGE if size == "large" else (1,) * depth))]
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1 if i == depth - 1 else 3, dilation=dilation)
            for i, (inputs, outputs, dilation) in enumerate(
                zip(widths[:-1], widths[1:], self.dilations, strict=True)
            )
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Makes the module the identity."""
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            identity_(layer, self.channels, self.noise)

    def forward(self, input: Tensor) -> Tensor:
        """Scores of the size and shape of the input, (N, C, H, W)."""
        weights: list[Any] = [layer.weight for layer in self.layers]
        biases: list[Any] = [layer.bias for layer in self.layers]
        function = context_module if self.backend == "pyfast" else context_module_reference
        return function(input, weights, biases, self.dilations, self.padding)

    def extra_repr(self) -> str:
        return f"{self.channels}, size={self.size!r}, padding={self.padding!r}"


@torch.no_grad()
def identity_(layer: nn.Conv2d, channels: int, noise: float) -> None:
    """Lets a convolution pass on `channels` channels, of which both its sides may hold copies.

    Where an input has k copies, the sum of its channels is what the channel was, and the same holds
    of the output.
    """
    outputs, inputs = layer.weight.shape[:2]
    passed = channels / outputs
    weight = torch.randn_like(layer.weight) * (noise * passed)
    # The copies of a channel lie next to each other.
    copies = weight.unflatten(1, (channels, inputs // channels))
    copies -= copies.mean(2, keepdim=True)
    centre = layer.kernel_size[0] // 2
    of_output = torch.arange(outputs) * channels // outputs
    of_input = torch.arange(inputs) * channels // inputs
    weight[:, :, centre, centre] += passed * (of_output[:, None] == of_input).to(weight)
    layer.weight.copy_(weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
