"""Promises about the other modes of torch: compile, export, fake tensors, vmap, autocast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pyfast.testing._case import NotPromisedError, OpCase
from pyfast.testing._tools import (
    cast,
    channels_last,
    compare,
    draw,
    evaluate,
    function_of,
    loss_of,
    of_points,
    points_of,
    replace,
)


def opcheck(case: OpCase, device: str) -> None:
    """`torch.library.opcheck` passes for every operator that is reached."""
    for op, arguments in _operator_calls(case, draw(case, device, case.dtypes[0])):
        for argument in tree_leaves(arguments):
            if isinstance(argument, Tensor) and argument.is_floating_point():
                argument.requires_grad_()
        torch.library.opcheck(op, arguments)


def fake(case: OpCase, device: str) -> None:
    """Fake tensors have the shapes, dtypes, devices and strides of the real results."""
    arguments = draw(case, device, case.dtypes[0], size=case.small + 2)
    for layout in ("contiguous", "channels_last"):
        if layout == "channels_last":
            arguments = tree_map_only(Tensor, channels_last, arguments)
        for op, op_arguments in _operator_calls(case, arguments):
            mode = FakeTensorMode()
            fakes = tree_map_only(Tensor, mode.from_tensor, op_arguments)
            with mode:
                predicted = tree_leaves(op(*fakes))
            for i, (p, real) in enumerate(
                zip(predicted, tree_leaves(op(*op_arguments)), strict=True)
            ):
                if _facts(p) != _facts(real):
                    raise AssertionError(
                        f"{op}, {layout}, result {i}: {_facts(p)}, really {_facts(real)}"
                    )


def _facts(tensor: Tensor) -> tuple[Any, ...]:
    strides = [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]
    return tuple(tensor.shape), strides, tensor.dtype, tensor.device


def compiles(case: OpCase, device: str) -> None:
    """`torch.compile` takes it in one graph, for one size and then for others."""
    for backend in ("aot_eager", "inductor") if case.inductor else ("aot_eager",):
        torch._dynamo.reset()
        compiled = torch.compile(function_of(case), backend=backend, fullgraph=True)
        for size in (case.small, case.small + 1, case.small + 2):
            arguments = draw(case, device, case.dtypes[0], size=size)
            expected = evaluate(case, function_of(case), arguments)
            actual = evaluate(case, compiled, arguments)
            compare(case, actual, expected, f"{backend}, size {size}")


def exports(case: OpCase, device: str) -> None:
    """`torch.export` takes it."""

    class Module(torch.nn.Module):
        def forward(self, *arguments: Any) -> Any:
            return case.function(*arguments, **case.kwargs)

    arguments = draw(case, device, case.dtypes[0])
    exported = torch.export.export(Module(), arguments).module()
    compare(case, exported(*arguments), function_of(case)(*arguments))


def vmap(case: OpCase, device: str) -> None:
    """`torch.func.vmap` equals a loop, backward too, whatever is mapped, in one call."""
    samples = [draw(case, device, case.dtypes[0], seed=seed) for seed in range(3)]
    tensors = [i for i, argument in enumerate(samples[0]) if isinstance(argument, Tensor)]
    choices = [tensors, *([i] for i in tensors)] if len(tensors) > 1 else [tensors]
    for dim in (0, -1):
        for mapped in choices:
            stacked = {i: torch.stack([s[i] for s in samples], dim) for i in mapped}
            arguments = replace(samples[0], stacked)
            in_dims = tuple(dim if i in mapped else None for i in range(len(arguments)))

            def loop(*stacks: Any, mapped: list[int] = mapped, dim: int = dim) -> Any:
                results = [
                    tree_leaves(
                        function_of(case)(
                            *replace(stacks, {i: stacks[i].select(dim, k) for i in mapped})
                        )
                    )
                    for k in range(len(samples))
                ]
                return [torch.stack(parts) for parts in zip(*results, strict=True)]

            with _no_vmap_fallback():
                batched = torch.func.vmap(function_of(case), in_dims)
                actual = evaluate(case, batched, arguments)
            what = f"arguments {mapped} mapped in dimension {dim}"
            compare(case, actual, evaluate(case, loop, arguments), what)


@contextmanager
def _no_vmap_fallback() -> Iterator[None]:
    """torch's own fallback is a loop over samples, with a warning: not what is promised."""
    functorch: Any = torch._C._functorch
    functorch._set_vmap_fallback_enabled(False)
    try:
        yield
    finally:
        functorch._set_vmap_fallback_enabled(True)


def autocast(case: OpCase, device: str) -> None:
    """Under `torch.autocast` inputs are cast first, also where only some are of low precision."""
    if case.autocast is None:
        raise NotPromisedError("torch.autocast is left alone")
    device_type = torch.device(device).type
    function = function_of(case)
    low = draw(case, device, torch.bfloat16)
    tensors = [i for i, argument in enumerate(low) if isinstance(argument, Tensor)]
    for first in {None, *tensors[1:2]}:
        mixed = low if first is None else replace(low, {first: low[first].float()})
        expected = evaluate(case, function, cast(mixed, case.autocast))
        with torch.autocast(device_type, dtype=torch.bfloat16):
            actual = evaluate(case, function, mixed)
        count = len(expected) - len(case.differentiable)
        compare(case, actual[:count], expected[:count], "results")
        gradients = [
            gradient.to(mixed[i].dtype)
            for i, gradient in zip(case.differentiable, expected[count:], strict=True)
        ]
        compare(case, actual[count:], gradients, "gradients")
        if case.differentiable:
            every = tuple(range(len(case.differentiable)))
            wide = of_points(case, loss_of(function), cast(mixed, case.autocast))
            plain = torch.func.grad(wide, every)(*points_of(case, cast(mixed, case.autocast)))
            with torch.autocast(device_type, dtype=torch.bfloat16):
                narrow = of_points(case, loss_of(function), mixed)
                transformed = torch.func.grad(narrow, every)(*points_of(case, mixed))
            plain = [p.to(t.dtype) for p, t in zip(plain, transformed, strict=True)]
            compare(case, transformed, plain, "torch.func.grad")


class _Recorder(TorchDispatchMode):
    """Keeps the first call of each operator of some libraries."""

    def __init__(self, libraries: set[str]) -> None:
        super().__init__()
        self.libraries = libraries
        self.calls: dict[str, tuple[Any, tuple[Any, ...]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if func.namespace in self.libraries and name not in self.calls:
            copies = tree_map_only(Tensor, lambda t: t.detach().clone(), args)
            self.calls[name] = (func, copies)
        return func(*args, **(kwargs or {}))


def _operator_calls(case: OpCase, arguments: Sequence[Any]) -> list[tuple[Any, tuple[Any, ...]]]:
    """One call of each operator that the case reaches, forward and backward."""
    if not case.operators:
        raise NotPromisedError("the case names no operator of the dispatcher")
    with _Recorder({name.split("::")[0] for name in case.operators}) as recorder:
        evaluate(case, function_of(case), arguments)
    missing = sorted(set(case.operators) - set(recorder.calls))
    if missing:
        raise AssertionError(f"not reached: {', '.join(missing)}")
    return list(recorder.calls.values())
