"""What the checks are written with: drawing arguments, evaluating, comparing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from pyfast.testing._case import NotPromisedError, OpCase

Function = Callable[..., Any]


def draw(
    case: OpCase,
    device: str,
    dtype: torch.dtype = torch.float64,
    *,
    batch: int = 2,
    size: int | None = None,
    seed: int = 0,
) -> tuple[Any, ...]:
    """The case's arguments, the same ones for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments = case.inputs(batch, case.small if size is None else size)
    return cast(arguments, dtype, device)


def cast(arguments: Sequence[Any], dtype: torch.dtype, device: str | None = None) -> Any:
    """Arguments with their floating-point tensors in `dtype`."""

    def one(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    return tree_map_only(Tensor, one, tuple(arguments))


def replace(arguments: Sequence[Any], changes: dict[int, Any]) -> tuple[Any, ...]:
    """Arguments with those at some positions exchanged."""
    return tuple(changes.get(i, argument) for i, argument in enumerate(arguments))


def function_of(case: OpCase) -> Function:
    """The operator with the case's keyword arguments."""
    return lambda *arguments: case.function(*arguments, **case.kwargs)


def reference_of(case: OpCase) -> Function:
    """The reference with the case's keyword arguments."""
    return lambda *arguments: case.reference(*arguments, **case.kwargs)


def of_points(case: OpCase, function: Function, arguments: Sequence[Any]) -> Function:
    """`function` of its differentiable arguments alone, the others being held."""
    positions = differentiable_of(case)
    return lambda *points: function(*replace(arguments, dict(zip(positions, points, strict=True))))


def points_of(case: OpCase, arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """The differentiable arguments."""
    return tuple(arguments[i].detach() for i in differentiable_of(case))


def differentiable_of(case: OpCase) -> tuple[int, ...]:
    """Positions of the differentiable arguments, of which there must be some."""
    if not case.differentiable:
        raise NotPromisedError("nothing is differentiable")
    return case.differentiable


def weights(result: Tensor) -> Tensor:
    """An incoming gradient for `result`, different for each entry."""
    ramp = torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype, device=result.device)
    return ramp.view(result.shape)


def loss_of(function: Function) -> Function:
    """A scalar of the results whose derivatives of every order are not trivial."""

    def loss(*arguments: Any) -> Tensor:
        results = tree_leaves(function(*arguments))
        return torch.stack([(weights(r) * r.sin()).sum() for r in results]).sum()

    return loss


def evaluate(
    case: OpCase,
    function: Function,
    arguments: Sequence[Any],
    cotangent: Callable[[Tensor], Tensor] = weights,
) -> list[Tensor]:
    """Results and gradients."""
    leaves = {i: arguments[i].detach().requires_grad_() for i in case.differentiable}
    results = tree_leaves(function(*replace(arguments, leaves)))
    values = [result.detach() for result in results]
    if not leaves:
        return values
    differentiable = [result for result in results if result.requires_grad]
    if not differentiable:
        raise AssertionError("no result is connected with the differentiable arguments")
    gradients = torch.autograd.grad(
        differentiable,
        list(leaves.values()),
        [cotangent(result.detach()) for result in differentiable],
        allow_unused=True,
        materialize_grads=True,
    )
    return [*values, *gradients]


def compare(case: OpCase, actual: Any, expected: Any, what: str = "") -> None:
    """Asserts equal structure, shapes, dtypes and, within the tolerance, values."""
    actual, expected = tree_leaves(actual), tree_leaves(expected)
    prefix = f"{what}: " if what else ""
    if len(actual) != len(expected):
        raise AssertionError(f"{prefix}{len(actual)} results, expected {len(expected)}")
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        tolerance = case.tolerance(a.dtype) if a.is_floating_point() else 0.0
        finite = e[e.isfinite()].abs()
        scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
        _assert_close(a, e, tolerance * scale, f"{prefix}result {i}")


def assert_same_bits(actual: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
    """Asserts equality to the last bit; NaN equals NaN."""
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        _assert_close(a, e, 0.0, f"{what}: result {i}")


def _assert_close(actual: Tensor, expected: Tensor, atol: float, what: str) -> None:
    torch.testing.assert_close(
        actual, expected, rtol=0.0, atol=atol, equal_nan=True, msg=lambda text: f"{what}: {text}"
    )


def compare_with_reference(
    case: OpCase, device: str, dtype: torch.dtype, what: str, **which: int
) -> None:
    """Results and gradients of one drawn problem; `which` is passed on to `draw`."""
    arguments = draw(case, device, dtype, **which)
    expected = evaluate(case, reference_of(case), cast(arguments, torch.float64))
    actual = evaluate(case, function_of(case), arguments)
    compare(case, actual, cast(expected, dtype), what)


def compare_transform(case: OpCase, device: str, transform: Function, what: str) -> None:
    """`transform(function, points)` gives the same for the operator and for its reference."""
    arguments = draw(case, device)
    points = points_of(case, arguments)
    actual, expected = (
        transform(of_points(case, function, arguments), points)
        for function in (function_of(case), reference_of(case))
    )
    compare(case, actual, expected, what)


def edges(case: OpCase) -> list[int]:
    """Size 1, and each tile, its neighbours and the primes around it."""
    edges = {1}
    for tile in case.tiles:
        below = (n for n in range(tile - 1, 1, -1) if _is_prime(n))
        above = (n for n in range(tile + 1, 2 * tile + 2) if _is_prime(n))
        edges |= {max(1, tile - 1), tile, tile + 1, next(below, 1), next(above)}
    return sorted(edges)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % i for i in range(2, int(number**0.5) + 1))


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor with channels last, where it has a form with channels last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    layout = formats.get(tensor.dim(), torch.contiguous_format)
    return tensor.contiguous(memory_format=layout)
