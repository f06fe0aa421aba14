"""The grid of a thin-plate spline with fixed source points."""

from collections.abc import Sequence

from torch import Tensor, nn

from pyfast.ops._checks import expect_flag, expect_floats, expect_size, expect_tensor, shape_error
from pyfast.ops.thin_plate_spline import spline_grid, thin_plate_spline_basis

_NAME = "ThinPlateSplineGrid"


class ThinPlateSplineGrid(nn.Module):
    """`thin_plate_spline_grid` for source points and a size that stay the same.

    The system is solved once, when the module is made; a call is one product of matrices. What it
    keeps is a buffer, (H * W, K), which moves with the module and is not part of its `state_dict`.

    Args:
        source: control points of the output, (K, 2), normalised, x before y; at least three, all
            different, not all on one line.
        size: (H, W) of the output.
        align_corners: as for `pyfast.affine_grid`.

    Raises:
        TypeError: an argument is of another type than above.
        ValueError: a shape or size does not fit.
        torch.linalg.LinAlgError: source points coincide or lie on one line.

    >>> import torch
    >>> corners = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    >>> ThinPlateSplineGrid(corners, size=(20, 30))(corners.expand(8, 4, 2)).shape
    torch.Size([8, 20, 30, 2])
    """

    basis: Tensor

    def __init__(
        self, source: Tensor, size: Sequence[int], align_corners: bool | None = False
    ) -> None:
        super().__init__()
        expect_tensor(_NAME, "source", source)
        expect_floats(_NAME, half=True, source=source)
        if source.dim() != 2 or source.shape[0] < 3 or source.shape[1] != 2:
            raise shape_error(_NAME, "source", "(K, 2) with K from 3", source)
        self.size = expect_size(_NAME, size, ranks=(2,))
        corners = expect_flag(_NAME, "align_corners", align_corners)
        basis = thin_plate_spline_basis(_NAME, source.detach(), self.size, corners)
        self.register_buffer("basis", basis.to(source.dtype), persistent=False)

    def forward(self, target: Tensor) -> Tensor:
        """(N, K, 2), where the points are in the input, to the grid, (N, H, W, 2)."""
        expect_tensor(_NAME, "target", target)
        expect_floats(_NAME, half=True, target=target)
        count = self.basis.shape[1]
        if target.dim() != 3 or tuple(target.shape[1:]) != (count, 2):
            raise shape_error(_NAME, "target", f"(N, {count}, 2)", target)
        return spline_grid(self.basis, target, self.size)

    def extra_repr(self) -> str:
        return f"points={self.basis.shape[1]}, size={self.size}"
