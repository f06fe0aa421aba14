"""Thin-plate splines: the case table, and what Bookstein's map has to do."""

import numpy as np
import promises
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from torch.testing import assert_close

import pyfast
from pyfast.ops.thin_plate_spline import thin_plate_spline_basis
from pyfast.testing import BadCall, OpCase, checks

SQUARE = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]], dtype=torch.float64)


def scattered(count, batch=None):
    """Points far enough from each other, around the centres of cells."""
    side = int(np.ceil(np.sqrt(count)))
    cells = torch.cartesian_prod(*[torch.linspace(-0.9, 0.9, side).double()] * 2)[:count]
    shape = cells.shape if batch is None else (batch, *cells.shape)
    return cells + 0.5 / side * (torch.rand(shape, dtype=torch.float64) - 0.5)


def by_definition(source, target, size, align_corners=False):
    """f(p) = a + A p + sum of w_k U(|p - s_k|), by a system for the targets of each sample."""

    def bending(a, b):
        squared = (a[:, :, None] - b[:, None]).square().sum(-1)
        return squared * torch.where(squared > 0, squared, 1).log()

    def rim(points):
        return torch.cat([torch.ones_like(points[..., :1]), points], -1)

    theta = torch.eye(2, 3, dtype=target.dtype)[None]
    identity = pyfast.ops.sampling.affine_grid_reference(theta, (1, 1, *size[-2:]), align_corners)
    source = source.expand_as(target)
    corner = target.new_zeros(len(target), 3, 3)
    system = torch.cat([bending(source, source), rim(source)], 2)
    system = torch.cat([system, torch.cat([rim(source).mT, corner], 2)], 1)
    weights = torch.linalg.solve(system, torch.cat([target, corner[:, :, :2]], 1))
    points = identity.reshape(1, -1, 2).expand(len(target), -1, 2)
    values = torch.cat([bending(points, source), rim(points)], 2) @ weights
    return values.unflatten(1, size[-2:])


def from_scattered(function):
    """Of changes of fixed points: what the checks do to an argument would unite points."""
    points = torch.cartesian_prod(*[torch.linspace(-0.9, 0.8, 3).double()] * 2)

    def call(change, target, size, **options):
        return function(points.to(change) + change, target, size, **options)

    return call


def changes(batch, size):
    return torch.rand(9, 2).double() / 10, scattered(9, batch), (size // 8 + 2, size)


def bad_calls():
    source, target = SQUARE.float(), SQUARE.float().repeat(2, 1, 1)

    def call(source=source, target=target, size=(4, 5), **options):
        return pyfast.thin_plate_spline_grid(source, target, size, **options)

    listed = [
        ("a list", lambda: call([[0, 0]]), TypeError, "source to be a torch.Tensor"),
        ("no batch", lambda: call(target=source), ValueError, r"target of shape \(N, K, 2\)"),
        ("points in space", lambda: call(target=torch.zeros(2, 4, 3)), ValueError, "target of sha"),
        (
            "other numbers of points",
            lambda: call(source[:3]),
            ValueError,
            r"source of shape \(4, 2\) or \(2, 4, 2\), got \(3, 2\)",
        ),
        (
            "two points",
            lambda: call(source[:2], target[:, :2]),
            ValueError,
            r"target of shape \(N, K, 2\) with K from 3, got \(2, 2, 2\)",
        ),
        ("two dtypes", lambda: call(source.double()), TypeError, "source of the dtype of target"),
        ("integers", lambda: call(target=target.int()), TypeError, "target of float16"),
        ("a size of floats", lambda: call(size=(4.0, 5)), TypeError, "size to hold integers"),
        (
            "the size of another batch",
            lambda: call(size=(3, 1, 4, 5)),
            ValueError,
            r"size \(H, W\) or \(2, C, H, W\), got \(3, 1, 4, 5\)",
        ),
        ("an empty size", lambda: call(size=(0, 5)), ValueError, "positive sizes"),
        ("a word", lambda: call(align_corners="no"), TypeError, "align_corners to be True"),
    ]
    for what, function, error, match in listed:
        yield BadCall(what, function, error, f"^thin_plate_spline_grid: expected {match}")


CASES = [
    *(
        OpCase(
            op="thin_plate_spline_grid",
            name="corners" if align_corners else "edges",
            function=from_scattered(pyfast.thin_plate_spline_grid),
            reference=from_scattered(by_definition),
            inputs=changes,
            kwargs={"align_corners": align_corners},
            differentiable=(0, 1),
            autocast=None,  # torch's own product goes to half precision in a backward under it
            native=False,
            tolerances={torch.float64: 1e-9},
        )
        for align_corners in (False, True)
    ),
    OpCase(
        op="thin_plate_spline_grid",
        name="fixed",
        function=pyfast.thin_plate_spline_grid,
        reference=by_definition,
        inputs=lambda batch, size: (scattered(9), scattered(9, batch), (size // 8 + 2, size)),
        differentiable=(1,),
        autocast=None,
        native=False,
        tolerances={torch.float64: 1e-9},
        inductor=True,
        bad_calls=tuple(bad_calls()),
    ),
]


def is_promised(case, promise):
    return case.name != "fixed" or promise != "layouts"  # one puts all points in one place


@promises.every(
    (check for check in checks(CASES) if is_promised(*check[:2])), promises.compiles_with_inductor
)
def test_promise(case, promise, device):
    promises.keep(case, promise, device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batched", [False, True])
def test_control_points_arrive_at_their_targets(dtype, batched):
    """Sources on the centres of pixels, so that the grid has them."""
    torch.manual_seed(0)
    pixels = torch.tensor([[2, 3], [30, 5], [17, 20], [4, 33], [35, 38], [21, 9]])
    source = ((2 * pixels.double() + 1) / 40 - 1).to(dtype)
    target = source + 0.3 * torch.randn(3, 6, 2, dtype=dtype)
    grid = pyfast.thin_plate_spline_grid(
        source.expand(3, 6, 2) if batched else source, target, (40, 40)
    )
    found = grid[:, pixels[:, 1], pixels[:, 0]]
    assert_close(found, target, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_an_affine_map_of_the_points_is_that_map_everywhere():
    torch.manual_seed(1)
    theta = torch.randn(2, 2, 3, dtype=torch.float64)
    source = scattered(16)
    target = source @ theta[:, :, :2].mT + theta[:, None, :, 2]
    grid = pyfast.thin_plate_spline_grid(source, target, (13, 17))
    assert_close(grid, pyfast.affine_grid(theta, (2, 1, 13, 17)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("unit", [1e-3, 1, 1000])
def test_scipy_has_the_same_spline(unit):
    torch.manual_seed(2)
    source, target = unit * scattered(12), scattered(12, 1)
    spline = RBFInterpolator(source.numpy(), target[0].numpy(), kernel="thin_plate_spline")
    identity = torch.eye(2, 3, dtype=torch.float64)[None]
    points = pyfast.affine_grid(identity, (1, 1, 9, 11))
    expected = spline(points.reshape(-1, 2).numpy()).reshape(1, 9, 11, 2)
    grid = pyfast.thin_plate_spline_grid(source, target, (9, 11))
    np.testing.assert_allclose(grid.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "source",
    [
        SQUARE[[0, 1, 1, 2]],
        torch.tensor([[-1.0, -1], [0, 0], [0.5, 0.5], [1, 1]]).double(),
        torch.tensor([[x, 0.3 * x + 0.1] for x in (-0.7, 0.1, 0.2, 0.9)]).double(),
        torch.tensor([[x, 0.3 * x + 0.1] for x in (-0.7, 0.1, 0.2, 0.9)], dtype=torch.float64),
    ],
    ids=["two in one place", "all on one line", "on one of float32", "on one but for rounding"],
)
def test_points_without_a_spline_are_refused(source):
    with pytest.raises(torch.linalg.LinAlgError, match=r"^thin_plate_spline_grid: expected source"):
        pyfast.thin_plate_spline_grid(source, SQUARE[None], (4, 4))
    with pytest.raises(torch.linalg.LinAlgError, match=r"^ThinPlateSplineGrid: expected source"):
        pyfast.nn.ThinPlateSplineGrid(source, (4, 4))


def test_points_on_the_meta_device_have_a_shape():
    source, target = scattered(9).to("meta"), scattered(9, 2).to("meta")
    assert pyfast.thin_plate_spline_grid(source, target, (4, 5)).shape == (2, 4, 5, 2)
    assert pyfast.nn.ThinPlateSplineGrid(source, (4, 5))(target).shape == (2, 4, 5, 2)


def test_autocast_leaves_the_grid_in_float32():
    source, target = scattered(9).float(), scattered(9, 2).float()
    plain = pyfast.thin_plate_spline_grid(source, target, (8, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grid = pyfast.thin_plate_spline_grid(source, target, (8, 9))
    assert_close(grid, plain)


def test_the_module_gives_the_grid_and_follows_its_device_and_dtype():
    torch.manual_seed(3)
    source, target = scattered(9), scattered(9, 2)
    module = pyfast.nn.ThinPlateSplineGrid(source, (6, 7))
    assert_close(module(target), pyfast.thin_plate_spline_grid(source, target, (6, 7)))
    assert not module.state_dict()
    single = module.float()(target.float())
    assert single.dtype == torch.float32
    assert_close(single, module(target.float()))
    assert thin_plate_spline_basis("", source, (6, 7), False).shape == (42, 9)
