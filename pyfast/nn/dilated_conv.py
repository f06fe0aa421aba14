"""torch's convolution layers on `dilated_conv2d` and `dilated_conv1d`."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pyfast.ops.dilated_conv import dilated_conv1d, dilated_conv2d


class DilatedConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with its arguments and state_dict, computed by `pyfast.dilated_conv2d`.

    Shapes: (B, C, H, W) or (C, H, W) to (B, O, OH, OW) or (O, OH, OW).

    Attributes:
        algorithm: that of `pyfast.dilated_conv2d`, None to begin with; to be set on a layer.

    Example:
        >>> import torch
        >>> layer = DilatedConv2d(8, 8, 3, padding=12, dilation=12, groups=8)
        >>> layer(torch.zeros(1, 8, 33, 33)).shape
        torch.Size([1, 8, 33, 33])
    """

    algorithm: str | None = None

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        input, padding = _padded(self, input)
        options: Any = (self.stride, padding, self.dilation, self.groups)
        return dilated_conv2d(input, weight, bias, *options, algorithm=self.algorithm)


class DilatedConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` with its arguments and state_dict, computed by `pyfast.dilated_conv1d`.

    Shapes: (B, C, L) or (C, L) to (B, O, OL) or (O, OL).

    Attributes:
        algorithm: that of `pyfast.dilated_conv1d`, None to begin with; to be set on a layer.

    Example:
        >>> import torch
        >>> layer = DilatedConv1d(8, 8, 2, dilation=16, groups=8)
        >>> layer(torch.zeros(1, 8, 100)).shape
        torch.Size([1, 8, 84])
    """

    algorithm: str | None = None

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        input, padding = _padded(self, input)
        options: Any = (self.stride, padding, self.dilation, self.groups)
        return dilated_conv1d(input, weight, bias, *options, algorithm=self.algorithm)


def _padded(layer: nn.Conv1d | nn.Conv2d, input: Tensor) -> tuple[Tensor, Any]:
    """The input of a convolution and the zeros that it still wants around it."""
    if layer.padding_mode == "zeros":
        return input, layer.padding
    around = layer._reversed_padding_repeated_twice
    return F.pad(input, around, mode=layer.padding_mode), 0
