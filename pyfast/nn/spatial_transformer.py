"""A layer that looks at its input, decides on a transform and resamples the input by it.

Reference: Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, 2015.
"""

from numbers import Integral
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from pyfast.nn._transforms import TRANSFORMS, control_points, transform_of
from pyfast.nn.thin_plate_spline import ThinPlateSplineGrid
from pyfast.ops import grid_sample
from pyfast.ops._autograd import is_autocast_on, without_autocast
from pyfast.ops._checks import (
    HALVES,
    expect_choice,
    expect_count,
    expect_flag,
    expect_floats,
    expect_number,
    expect_size,
    expect_tensor,
    shape_error,
)
from pyfast.ops.sampling import MODES, PADDING_MODES


class TransformHead(nn.Module):
    """The last linear map of a localisation network: features to the offset from the identity.

    It starts at zero, and the usual ways to initialise the model it is part of leave it there: it
    is no `nn.Linear`, no parameter of it is called weight or bias, and none has two dimensions, so
    that a function that chooses by type, name or dimensions does not choose it.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.slope = nn.Parameter(torch.empty(out_features * in_features))
        self.offset = nn.Parameter(torch.empty(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.slope)
        nn.init.zeros_(self.offset)

    def forward(self, features: Tensor) -> Tensor:
        # Coordinates need more digits than half precision has.
        with without_autocast(features.device.type):
            slope = self.slope.view(self.out_features, -1)
            return F.linear(features.to(slope.dtype), slope, self.offset)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class LazyTransformHead(LazyModuleMixin, TransformHead):
    """A `TransformHead` that takes `in_features` from its first input."""

    cls_to_become = TransformHead  # type: ignore[assignment]
    slope: UninitializedParameter  # type: ignore[assignment]

    def __init__(self, out_features: int) -> None:
        super().__init__(0, out_features)
        self.slope = UninitializedParameter()

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, features: Tensor) -> None:
        self.in_features = features.shape[-1]
        if self.has_uninitialized_params():
            self.slope.materialize((self.out_features * self.in_features,))
            nn.init.zeros_(self.slope)


def _pair(size: Any) -> tuple[int, ...]:
    one = isinstance(size, Integral) and not isinstance(size, bool)
    return expect_size("SpatialTransformer", (size, size) if one else size, ranks=(2,))


class SpatialTransformer(nn.Module):
    """Resamples its input by a transform that it predicts from the input.

    The transform maps places of the output to places of the input, both in [-1, 1] with x
    before y, as `torch.nn.functional.affine_grid` defines them. The module starts as the identity,
    and stays it when a model that holds it is initialised by functions that choose what they
    overwrite by the type or name of a module or by the name or dimensions of a parameter. One that
    overwrites all parameters alike ends that: `head.reset_parameters()` brings it back.

    Args:
        localisation: any module that maps the input (N, C, H, W) to features (N, ...); what
            follows the batch dimension is flattened. The linear map from the features to the
            parameters of the transform belongs to this module (`head`).
        size: height and width of the output; one number for both; None for those of the input.
        transform: the family of transforms, with p the predicted parameters, zero at first:
            "affine": all six, [1 + p0, p1, p2; p3, 1 + p4, p5];
            "attention": crop, isotropic scale and shift, [s, 0, tx; 0, s, ty] with s = 1 + p0,
            (tx, ty) = (p1, p2); s below 1 enlarges;
            "translation": crop of a fixed `scale` at a predicted place, [s, 0, p0; 0, s, p1];
            "similarity": scale s = exp(p0), rotation by p1 radians and shift (p2, p3),
            [s cos, -s sin, tx; s sin, s cos, ty];
            "projective": all eight of a homography, [1 + p0, p1, p2; p3, 1 + p4, p5; p6, p7, 1];
            "tps": a thin-plate spline that moves `points` x `points` control points, which lie
            regularly over [-1, 1], by (p0, p1), (p2, p3) and so on, the x of a row first. With a
            `size` its system is solved once, with None at every call.
        in_features: number of features of one image; None takes it from the first input, and as
            with `nn.LazyLinear` an optimiser is made after that.
        count: number of transforms that one localisation predicts, each with an output of its own
            (section 3.3 of the paper: for several objects). The output is (N, count, C, H, W):
            `flatten(1, 2)` lines them up as channels, `flatten(0, 1)` as images. None: one, without
            this dimension.
        points: control points of "tps" on a side, at least 2.
        scale: that of "translation", at first the middle of the input: 0.5 takes half of its height
            and width.
        mode: "bilinear", "nearest" or "bicubic"; with "nearest" no gradient reaches `localisation`.
        padding_mode: "zeros", "border" or "reflection", for places outside the input.
        align_corners: whether -1 and 1 are the centres of the corner pixels or their outer edges.
        backend: "pyfast", or "torch" for the plain PyTorch operators: for comparisons and for
            export to formats that know no operators but PyTorch's.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: an option is unknown, or a size is not positive; when called, `input` has the
            wrong shape, or the localisation network does not return one row of features for every
            image, or another number of them than at first.

    Reference: Jaderberg et al., Spatial Transformer Networks, 2015, sections 3.1 to 3.3; attention
        is equation 2.

    >>> localisation = nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.MaxPool2d(4))
    >>> straighten = SpatialTransformer(localisation, size=20)
    >>> output, theta = straighten(torch.rand(4, 1, 40, 40), return_theta=True)
    >>> output.shape, theta.shape
    (torch.Size([4, 1, 20, 20]), torch.Size([4, 2, 3]))
    """

    def __init__(
        self,
        localisation: nn.Module,
        size: int | tuple[int, int] | None = None,
        transform: Literal[
            "affine", "attention", "translation", "similarity", "projective", "tps"
        ] = "affine",
        *,
        in_features: int | None = None,
        count: int | None = None,
        points: int = 4,
        scale: float = 1.0,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool = False,
        backend: Literal["pyfast", "torch"] = "pyfast",
    ) -> None:
        super().__init__()
        if not isinstance(localisation, nn.Module):
            raise TypeError(
                f"SpatialTransformer: expected localisation to be a torch.nn.Module, "
                f"got {localisation!r}"
            )
        if in_features is not None:
            expect_count("SpatialTransformer", "in_features", in_features)
        if count is not None:
            expect_count("SpatialTransformer", "count", count)
        expect_count("SpatialTransformer", "points", points)
        if points < 2:
            raise ValueError(f"SpatialTransformer: expected points of at least 2, got {points}")
        expect_number("SpatialTransformer", "scale", scale, above=0)
        expect_choice("SpatialTransformer", "transform", transform, TRANSFORMS)
        expect_choice("SpatialTransformer", "mode", mode, MODES)
        expect_choice("SpatialTransformer", "padding_mode", padding_mode, PADDING_MODES)
        expect_choice("SpatialTransformer", "backend", backend, ("pyfast", "torch"))
        expect_flag("SpatialTransformer", "align_corners", align_corners)
        self.localisation = localisation
        self.size = None if size is None else _pair(size)
        self.transform = transform
        self.mode = mode
        self.padding_mode = padding_mode
        self.align_corners = align_corners
        self.backend = backend
        self.count = count
        self.points = points
        self.scale = scale
        self.spline = (
            ThinPlateSplineGrid(control_points(points), self.size, align_corners)
            if transform == "tps" and self.size is not None
            else None
        )
        parameters = transform_of(transform, points, scale).parameters * (count or 1)
        self.head: TransformHead = (
            LazyTransformHead(parameters)
            if in_features is None
            else TransformHead(in_features, parameters)
        )

    def localise(self, input: Tensor) -> Tensor:
        """The transform that the module predicts for `input` (N, C, H, W): theta.

        (N, 2, 3), (N, 3, 3) for "projective", for "tps" where the control points go, (N, K, 2);
        with `count` (N, count, ...).
        """
        op = "SpatialTransformer"
        expect_tensor(op, "input", input)
        expect_floats(op, half=True, input=input)
        if input.dim() != 4 or min(input.shape[2:]) < 1:
            raise shape_error(op, "input", "(N, C, H, W) with H and W from 1", input)
        features = self.localisation(input)
        expect_tensor(op, "what localisation returns", features)
        if features.dim() < 2 or features.shape[0] != input.shape[0]:
            raise ValueError(
                f"{op}: expected localisation to return features of shape "
                f"({input.shape[0]}, ...) for input {tuple(input.shape)}, "
                f"got {tuple(features.shape)}"
            )
        features = features.flatten(1)
        count = self.head.in_features  # 0 before the first input where it is not given
        if features.shape[1] != count > 0:
            raise ValueError(
                f"{op}: expected localisation to return {count} features of an image, as at "
                f"first or as in_features says, for input {tuple(input.shape)}, "
                f"got {features.shape[1]}"
            )
        offset = self.head(features)
        theta = transform_of(self.transform, self.points, self.scale).theta
        if self.count is None:
            return theta(offset)
        each = theta(offset.view(offset.shape[0] * self.count, offset.shape[1] // self.count))
        return each.unflatten(0, (offset.shape[0], self.count))

    @overload
    def forward(self, input: Tensor, return_theta: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, input: Tensor, return_theta: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, input: Tensor, return_theta: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Resamples `input`, (N, C, H, W), to (N, C, *size), with `count` to (N, count, C, *size).

        With `return_theta` theta comes as well.
        """
        theta = self.localise(input)
        if self.count is None:
            output = self._resample(input, theta)
        else:
            # One after the other: each reads the input where it lies.
            output = torch.stack([self._resample(input, one) for one in theta.unbind(1)], dim=1)
        return (output, theta) if return_theta else output

    def _resample(self, input: Tensor, theta: Tensor) -> Tensor:
        size = self.size or tuple(input.shape[-2:])
        options = self.mode, self.padding_mode, bool(self.align_corners)
        transform = transform_of(self.transform, self.points, self.scale)
        if self.backend == "pyfast" and self.spline is None:
            return transform.sample(input, theta, size, *options)
        grid = self.spline(theta) if self.spline else transform.grid(theta, size, options[2])
        if self.backend == "pyfast":
            return grid_sample(input, grid, *options)
        if input.dtype in HALVES and not is_autocast_on(input.device.type):
            return F.grid_sample(input.float(), grid, *options).to(input.dtype)
        return F.grid_sample(input, grid, *options)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, transform={self.transform!r}, count={self.count}, "
            f"mode={self.mode!r}, "
            f"padding_mode={self.padding_mode!r}, align_corners={self.align_corners}, "
            f"backend={self.backend!r}"
        )
