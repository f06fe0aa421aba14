"""Promises about derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

from pyfast.testing._case import NotPromisedError, OpCase
from pyfast.testing._tools import (
    Function,
    compare,
    compare_transform,
    differentiable_of,
    draw,
    function_of,
    loss_of,
    of_points,
    points_of,
    reference_of,
)


def gradcheck(case: OpCase, device: str) -> None:
    """Gradients equal finite differences."""
    arguments = draw(case, device)
    points = tuple(p.requires_grad_() for p in points_of(case, arguments))
    torch.autograd.gradcheck(
        of_points(case, function_of(case), arguments), points, nondet_tol=_spread(case, device)
    )


def gradgradcheck(case: OpCase, device: str) -> None:
    """Second derivatives equal finite differences of the gradients."""
    if not case.second_order:
        raise NotPromisedError("there is no second derivative")
    arguments = draw(case, device)
    points = tuple(p.requires_grad_() for p in points_of(case, arguments))
    # In random directions: `create_graph` compares every entry with the reference.
    torch.autograd.gradgradcheck(
        of_points(case, function_of(case), arguments),
        points,
        fast_mode=True,
        nondet_tol=_spread(case, device),
    )


def _spread(case: OpCase, device: str) -> float:
    """How far apart the gradients of two runs may be."""
    return 0.0 if case.repeats_on(device) else case.tolerance(torch.float64)


def create_graph(case: OpCase, device: str) -> None:
    """A loss on gradients has the reference's gradient, or raises and names the operator."""

    def penalty(function: Function, points: tuple[Tensor, ...]) -> Any:
        leaves = [p.clone().requires_grad_() for p in points]

        def gradients(scalar: Tensor, **options: Any) -> tuple[Tensor, ...]:
            return torch.autograd.grad(
                scalar, leaves, allow_unused=True, materialize_grads=True, **options
            )

        first = gradients(loss_of(function)(*leaves), create_graph=True)
        total = torch.stack([g.square().sum() for g in first]).sum()
        return gradients(total)

    if case.second_order:
        compare_transform(case, device, penalty, "create_graph")
        return
    arguments = draw(case, device)
    try:
        penalty(of_points(case, function_of(case), arguments), points_of(case, arguments))
    except (NotImplementedError, RuntimeError) as error:
        assert_names(case, error)
    else:
        raise AssertionError("no second derivative is promised, and none is refused")


def func_grad(case: OpCase, device: str) -> None:
    """`torch.func.grad` agrees, also nested and in each argument alone."""
    every = tuple(range(len(differentiable_of(case))))
    for argnums in (every, *((i,) for i in every)):
        compare_transform(
            case,
            device,
            lambda f, points, argnums=argnums: torch.func.grad(loss_of(f), argnums)(*points),
            f"grad in {argnums}",
        )
    if case.second_order:

        def nested(function: Function, points: tuple[Tensor, ...]) -> Any:
            inner = torch.func.grad(loss_of(function), every)
            return torch.func.grad(loss_of(inner), every)(*points)

        compare_transform(case, device, nested, "grad of grad")


def vmap_grad(case: OpCase, device: str) -> None:
    """Gradients sample by sample, and the gradient of a mapped function, agree."""
    every = tuple(range(len(differentiable_of(case))))

    def stacked(points: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(torch.stack([p, p * 0.9, p * 0.8]) for p in points)

    def for_one_mapped(position: int) -> None:
        in_dims = tuple(0 if i == position else None for i in every)

        def mapped(points: tuple[Tensor, ...]) -> list[Tensor]:
            return [s if i == position else p for i, (p, s) in pairs(points)]

        def pairs(points: tuple[Tensor, ...]) -> Any:
            return enumerate(zip(points, stacked(points), strict=True))

        compare_transform(
            case,
            device,
            lambda f, points: torch.func.vmap(torch.func.grad(loss_of(f), every), in_dims)(
                *mapped(points)
            ),
            f"vmap(grad), argument {case.differentiable[position]} mapped",
        )
        compare_transform(
            case,
            device,
            lambda f, points: torch.func.grad(loss_of(torch.func.vmap(f, in_dims)), every)(
                *mapped(points)
            ),
            f"grad(vmap), argument {case.differentiable[position]} mapped",
        )

    for position in every:
        for_one_mapped(position)
    compare_transform(
        case,
        device,
        lambda f, points: torch.func.vmap(torch.func.grad(loss_of(f), every))(*stacked(points)),
        "vmap(grad)",
    )


def jacrev(case: OpCase, device: str) -> None:
    """`torch.func.jacrev` agrees."""
    every = tuple(range(len(differentiable_of(case))))
    compare_transform(
        case, device, lambda f, points: torch.func.jacrev(f, every)(*points), "jacrev"
    )


def jvp(case: OpCase, device: str) -> None:
    """Forward-mode tangents agree, or there are none and the error names the operator."""
    arguments = draw(case, device)
    points = points_of(case, arguments)
    function = of_points(case, function_of(case), arguments)
    plain = of_points(case, reference_of(case), arguments)
    tangents = tuple(torch.cos(3 * p) for p in points)
    expected = torch.autograd.functional.jvp(
        lambda *p: tuple(tree_leaves(plain(*p))), points, tangents
    )[1]
    routes: dict[str, Callable[[], Any]] = {
        "torch.func.jvp": lambda: torch.func.jvp(function, points, tangents)[1],
        "dual tensors": lambda: _dual_tangents(function, points, tangents),
    }
    for route, tangent in routes.items():
        try:
            actual = tangent()
        except NotImplementedError as error:
            assert_names(case, error)
        else:
            compare(case, actual, expected, route)


def _dual_tangents(
    function: Function, points: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> list[Tensor]:
    with forward_ad.dual_level():
        results = function(*map(forward_ad.make_dual, points, tangents))
        duals = [forward_ad.unpack_dual(result) for result in tree_leaves(results)]
        return [torch.zeros_like(d.primal) if d.tangent is None else d.tangent for d in duals]


def assert_names(case: OpCase, error: Exception) -> None:
    """An operator that cannot do something says which operator it is."""
    if case.op not in str(error):
        raise AssertionError(f"the error does not name {case.op}: {error!r}") from error
