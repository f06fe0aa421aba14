"""vmap for operators: by folding batches into one, or by a loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch


def fold_vmap(
    op: torch._ops.OpOverload,
    *,
    shared: Collection[int] = (),
    like: Sequence[int | None] = (None,),
) -> None:
    """Registers vmap for `op` as one call on a batch of (mapped size) x (batch size).

    A tensor of batch 1 among tensors of batch N serves all of them.

    Args:
        op: operator whose tensor arguments and results have their batch first, and which takes
            that batch from its tensors alone.
        shared: positions of arguments that `op` itself takes with batch 1. Unmapped ones are then
            not repeated in memory. For a gradient of them this is wrong: it would be summed over
            the mapped dimension.
        like: for each result, the position of the argument whose batch it has. None: batch N.
            A result of another batch, such as an empty one for a gradient not asked for, is
            taken as not mapped.
    """

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        parts = [
            (a.expand(size, *a.shape) if d is None else a.movedim(d, 0))
            if isinstance(a, torch.Tensor)
            else a
            for a, d in zip(args, in_dims, strict=True)
        ]
        batches = [p.shape[1:2] for p in parts if isinstance(p, torch.Tensor)]
        (batch,) = torch.broadcast_shapes(*batches)

        def fold(i: int) -> Any:
            part = parts[i]
            if not isinstance(part, torch.Tensor):
                return part
            if i in shared and in_dims[i] is None and part.shape[1] == 1:
                return args[i]
            return part.expand(size, batch, *part.shape[2:]).flatten(0, 1)

        def unfold(result: torch.Tensor, position: int | None) -> tuple[torch.Tensor, int | None]:
            if result.shape[0] != size * batch:
                return result, None
            result = result.unflatten(0, (size, batch))
            is_summed = position is not None and parts[position].shape[1] != batch
            return (result.sum(1, keepdim=True) if is_summed else result), 0

        results = op(*(fold(i) for i in range(len(args))))
        if isinstance(results, torch.Tensor):
            return unfold(results, like[0])
        return tuple(zip(*map(unfold, results, like), strict=True))

    torch.library.register_vmap(op, rule)


def loop_vmap(op: torch._ops.OpOverload) -> None:
    """Registers vmap for `op`, of one result, as a loop: for what is large each time."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[torch.Tensor, int]:
        def call(part: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
            return op(
                *(
                    part(a, d) if isinstance(a, torch.Tensor) and d is not None else a
                    for a, d in zip(args, in_dims, strict=True)
                )
            )

        if info.batch_size == 0:  # where one of zeros tells the shape
            one = call(lambda a, d: a.new_zeros(a.movedim(d, 0).shape[1:]))
            return one.new_empty(0, *one.shape), 0
        picks = (partial(_select, i) for i in range(info.batch_size))
        return torch.stack([call(pick) for pick in picks]), 0

    torch.library.register_vmap(op, rule)


def _select(index: int, tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return tensor.select(dim, index)
