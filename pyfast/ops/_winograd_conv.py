"""The operator behind Winograd convolutions; transformed weights that are kept for it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from pyfast.ops._autograd import is_in_transform
from pyfast.ops._conv_gradients import own_adjoint
from pyfast.ops._fake import register_fake

_conv = own_adjoint(torch.ops.pyfast.winograd_conv2d.default, much_scratch=True)
_weight_op = torch.ops.pyfast.winograd_weight.default


@register_fake(_weight_op)
def _(weight: Tensor, tile: int, adjoint: bool) -> Tensor:
    shape = weight.shape[:2] if adjoint else weight.shape[1::-1]
    return weight.new_empty(((tile + 2) ** 2, *shape))


def winograd_conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None, *geometry: int, tile: int
) -> Tensor:
    """A 3 x 3 convolution of stride 1: (padding_h, padding_w, dilation_h, dilation_w)."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    keeps = not (learns or torch.compiler.is_compiling() or is_in_transform() or _is_traced())
    transformed = TRANSFORMED.get(weight, tile) if keeps and type(weight) in _PLAIN else None
    return _conv(input, weight, bias, transformed, tile, *geometry, False)


_PLAIN = (Tensor, torch.nn.Parameter)


def _is_traced() -> bool:
    """Whether operators are recorded or give fakes: what they return then is not to be kept."""
    modes = torch._C._TorchDispatchModeKey
    return torch._C._is_tracing() or (
        torch._C._len_torch_dispatch_stack() > 0
        and any(torch._C._get_dispatch_mode(m) is not None for m in (modes.FAKE, modes.PROXY))
    )


class _Transformed:
    """Transformed weights of the convolutions that do not learn, the last used ones.

    Each is kept with a copy of the weights that it was made from, and serves only weights that
    equal it: versions of a tensor do not tell of what is written through `.data`.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self.lock = threading.Lock()
        self._kept: OrderedDict[Any, tuple[Tensor, Tensor]] = OrderedDict()

    def get(self, weight: Tensor, tile: int) -> Tensor:
        key = weight.data_ptr(), tuple(weight.shape), weight.dtype, tile
        weight = weight.detach()
        with self.lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and torch.equal(kept[0], weight):
            return kept[1]
        copy = weight.clone()
        made = copy, _weight_op(copy, tile, False)  # of one state, should a thread write meanwhile
        with self.lock:
            self._drop(key)
            self._kept[key] = made
            self.bytes += _bytes(made)
            while self.bytes > self.most_bytes:
                self._drop(next(iter(self._kept)))
        return made[1]

    def clear(self) -> int:
        """Forgets everything; returns the number of bytes freed."""
        with self.lock:
            freed, self.bytes = self.bytes, 0
            self._kept.clear()
        return freed

    def _drop(self, key: Any) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self.bytes -= _bytes(kept)


def _bytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


TRANSFORMED = _Transformed(most_bytes=512 << 20)
if hasattr(os, "register_at_fork"):
    # Held during a fork, lest the child inherits it locked by a thread that it does not have.
    os.register_at_fork(
        before=TRANSFORMED.lock.acquire,
        after_in_parent=TRANSFORMED.lock.release,
        after_in_child=TRANSFORMED.lock.release,
    )
