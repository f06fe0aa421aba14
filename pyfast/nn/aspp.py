"""Atrous spatial pyramid pooling, in the forms of DeepLab v2 and v3.

References: Chen et al.: DeepLab, 2016, section 3.2; Chen et al.: Rethinking Atrous Convolution for
Semantic Image Segmentation, 2017, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyfast.nn.dilated_conv import DilatedConv2d
from pyfast.ops._checks import expect_choice, expect_count, expect_flag, expect_number
from pyfast.ops.aspp import aspp_concat, aspp_concat_reference, aspp_sum, aspp_sum_reference

COMBINATIONS = ("sum", "concat")


class ASPP(nn.Module):
    """Convolutions of one input at several dilations, added up or concatenated.

    Three published heads:

    - `ASPP(2048, 21)`, DeepLab v2 on ResNet-101: four convolutions to the classes, added up;
    - `ASPP(512, 21, hidden_channels=1024)`, DeepLab v2 on VGG-16: in each branch fc6, 3 x 3 and
      dilated, fc7 and fc8, 1 x 1, with ReLU and dropout after the first two; added up;
    - `ASPP(2048, 256, (6, 12, 18), "concat", image_pooling=True)`, DeepLab v3: a convolution of
      1 x 1 and three dilated ones, each with batch norm and ReLU, and the mean of the picture;
      concatenated, then a projection of 1 x 1.

    Parameters are those of `branches.{i}`, in the second form `branches.{i}.fc6`, `.fc7` and
    `.fc8`, in the third also of `norm`, `pool` and `project`.

    Args:
        in_channels: of the features.
        out_channels: of the result: classes for the sum, features for the concatenation.
        rates: dilations of the convolutions of 3 x 3.
        combine: "sum" or "concat".
        hidden_channels: of fc6 and fc7 in each branch of a sum. None: a branch is one convolution.
        image_pooling: whether a concatenation has the mean of the picture as one more branch.
        dropout: probability in the branches of the second form and after the projection.
        backend: "pyfast", or "torch" for plain PyTorch operators: for comparisons and for export.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a name is unknown, a number is out of its range, or an argument belongs to
            another form.

    Example:
        >>> ASPP(8, 3)(torch.randn(1, 8, 33, 33)).shape
        torch.Size([1, 3, 33, 33])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rates: Sequence[int] = (6, 12, 18, 24),
        combine: Literal["sum", "concat"] = "sum",
        *,
        hidden_channels: int | None = None,
        image_pooling: bool = False,
        dropout: float = 0.5,
        backend: Literal["pyfast", "torch"] = "pyfast",
    ) -> None:
        super().__init__()
        expect_count("ASPP", "in_channels", in_channels)
        expect_count("ASPP", "out_channels", out_channels)
        expect_choice("ASPP", "combine", combine, COMBINATIONS)
        expect_choice("ASPP", "backend", backend, ("pyfast", "torch"))
        expect_flag("ASPP", "image_pooling", image_pooling)
        expect_number("ASPP", "dropout", dropout, least=0)
        if not isinstance(rates, Sequence) or isinstance(rates, str):
            raise TypeError(f"ASPP: expected rates to be a sequence of integers, got {rates!r}")
        if not rates:
            raise ValueError("ASPP: expected at least one of rates, got none")
        for rate in rates:
            expect_count("ASPP", "rates", rate)
        if hidden_channels is not None:
            expect_count("ASPP", "hidden_channels", hidden_channels)
            if combine == "concat":
                raise ValueError("ASPP: expected hidden_channels with combine='sum' only")
        if image_pooling and combine == "sum":
            raise ValueError("ASPP: expected image_pooling with combine='concat' only")
        self.rates = tuple(rates)
        self.combine = combine
        self.backend = backend
        if combine == "concat":
            self.rates = (1, *self.rates)
            self._add_features(in_channels, out_channels, bool(image_pooling), dropout)
        elif hidden_channels is None:
            self.branches = nn.ModuleList(
                nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate)
                for rate in rates
            )
        else:
            self.branches = nn.ModuleList(
                LargeBranch(in_channels, hidden_channels, out_channels, rate, dropout, backend)
                for rate in rates
            )
        self.hidden_channels = hidden_channels
        if combine == "sum":
            self.reset_parameters()

    def _add_features(self, inputs: int, outputs: int, pooling: bool, dropout: float) -> None:
        self.branches = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate, bias=False)
            if i > 0
            else nn.Conv2d(inputs, outputs, 1, bias=False)
            for i, rate in enumerate(self.rates)
        )
        self.norm = nn.BatchNorm2d(outputs * len(self.branches))
        self.pool = _unit(inputs, outputs) if pooling else None
        parts = len(self.branches) + pooling
        self.project = _unit(parts * outputs, outputs)
        self.project.append(nn.Dropout(dropout))

    def reset_parameters(self) -> None:
        """Starts the maps to the classes as DeepLab v2 does: N(0, .01), no bias."""
        for branch in self.branches:
            last = branch.fc8 if isinstance(branch, LargeBranch) else branch
            assert isinstance(last, nn.Conv2d)
            nn.init.normal_(last.weight, std=0.01)
            if last.bias is not None:
                nn.init.zeros_(last.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Scores or features, (N, out_channels, H, W), of features (N, in_channels, H, W)."""
        if self.hidden_channels is not None:
            return torch.stack([branch(input) for branch in self.branches]).sum(0)
        weights: list[Any] = [branch.weight for branch in self.branches]
        biases: list[Any] = [branch.bias for branch in self.branches]
        ours = self.backend == "pyfast"
        if self.combine == "sum":
            return (aspp_sum if ours else aspp_sum_reference)(input, weights, biases, self.rates)
        joined = (aspp_concat if ours else aspp_concat_reference)(
            input, weights, biases, self.rates
        )
        features = [F.relu(self.norm(joined))]
        if self.pool is not None:
            mean = self.pool(input.mean((2, 3), keepdim=True))
            features.append(mean.expand(-1, -1, *input.shape[2:]))
        return self.project(torch.cat(features, 1))

    def extra_repr(self) -> str:
        return f"rates={self.rates}, combine={self.combine!r}"


class LargeBranch(nn.Module):
    """A branch of DeepLab v2 on VGG-16: the three last layers of the classifier, convolutional."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        rate: int,
        dropout: float,
        backend: str = "pyfast",
    ) -> None:
        super().__init__()
        convolution = DilatedConv2d if backend == "pyfast" else nn.Conv2d
        self.fc6 = convolution(inputs, hidden, 3, padding=rate, dilation=rate)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.fc8 = nn.Conv2d(hidden, outputs, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        for layer in (self.fc6, self.fc7):
            input = self.dropout(F.relu(layer(input)))
        return self.fc8(input)


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
