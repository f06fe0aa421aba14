"""What several processes that train one system do together.

The networks stay as they are: gradients are averaged when a backward pass is over. So a loss may
call a network twice, only a part of it or one of its methods, and an update may train a part of a
network, all of which `DistributedDataParallel` refuses or silently leaves unsynchronised.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyfast._optional import require


def make_fabric(device: str | None, devices: int | None, precision: Any) -> Any:
    """Lightning Fabric for these devices; under `torchrun` for those that it started."""
    fabric = require("lightning_fabric", "train")
    nodes = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started = int(os.environ["LOCAL_WORLD_SIZE"])
        if devices not in (None, started):
            raise ValueError(f"devices: torchrun started {started} here, got {devices}")
        devices, nodes = started, int(os.environ["WORLD_SIZE"]) // started
    kind = _kind(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    several = (devices or 1) * nodes > 1
    if kind.index is not None and several:
        raise ValueError(f"device: expected no number with several processes, got {device}")
    return fabric.Fabric(
        accelerator=kind.type,
        devices=[kind.index] if kind.index is not None else devices or 1,
        num_nodes=nodes,
        strategy=_strategy() if several else "auto",
        precision=precision,
    )


def _kind(device: str) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    name = device.partition(":")[0]
    if not there.get(name):
        found = ", ".join(kind for kind, here in there.items() if here)
        raise ValueError(f"device: expected one of {found}, got {device!r}")
    return torch.device(device)


def _strategy() -> Any:
    ddp: Any = require("lightning_fabric.strategies", "train").DDPStrategy

    class Replicas(ddp):
        """One process for each device, without a wrapper around the network."""

        def setup_module(self, module: nn.Module) -> nn.Module:
            return module

    return Replicas()


@contextmanager
def launched(fabric: Any) -> Iterator[None]:
    """The processes meet, and part after the last block of the program or after an error."""
    before = _meeting()
    fabric.launch()
    if _meeting() and not before:
        atexit.register(_part)  # processes that have parted cannot meet again under torchrun
    try:
        yield
        fabric.barrier()
    except BaseException:
        # The others then fail in their next exchange and do not wait for ever.
        if not before:
            _part()
        raise


def _meeting() -> bool:
    return dist.is_available() and dist.is_initialized()


def _part() -> None:
    if _meeting():
        dist.destroy_process_group()


def broadcast_state(module: nn.Module) -> None:
    """Gives every process the weights and buffers of the first."""
    for value in module.state_dict().values():
        if value.is_contiguous():
            dist.broadcast(value, 0)
        else:
            dense = value.contiguous()
            dist.broadcast(dense, 0)
            value.copy_(dense)


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Averages over the processes, one exchange for each dtype.

    A gradient that is missing in some processes counts as zero there; one that is missing in all
    stays missing, so that optimisers pass its parameter over.
    """
    for _, group in groupby(sorted(parameters, key=lambda p: str(p.dtype)), lambda p: p.dtype):
        same = list(group)
        there = [parameter.grad is not None for parameter in same]
        flags = same[0].new_tensor(there)
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in same]
        flat = torch.cat([part.flatten() for part in parts] + [flags])
        dist.all_reduce(flat)
        *averages, flags = flat.split([p.numel() for p in same] + [len(same)])
        # Read from the device only if there is a doubt.
        known = there if all(there) else (flags > 0).tolist()
        for parameter, part, average, found in zip(same, parts, averages, known, strict=True):
            if found:
                part.copy_(average.div_(dist.get_world_size()).view_as(part))
                parameter.grad = part


class _Sum(torch.autograd.Function):
    """A sum over the processes, in which each has a share of the gradient."""

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(gradient.contiguous())


class SyncBatchNorm(nn.SyncBatchNorm):
    """PyTorch's, which needs a GPU, and the same on the CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not self.training:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = (1, -1, *(1 for _ in axes[1:]))
        x = input.float() if input.dtype != torch.float64 else input
        count = _Sum.apply(x.new_tensor(x.numel() / x.shape[1]))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), (variance * (count / (count - 1))).detach())
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


@contextmanager
def synchronised_batch_norm(module: nn.Module) -> Iterator[None]:
    """Lets batch normalisation see the batches of all processes; parameters stay where they are."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    changed = [(m, type(m)) for m in module.modules() if type(m) in kinds]
    for layer, _ in changed:
        layer.__class__, layer.process_group = SyncBatchNorm, None  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind
