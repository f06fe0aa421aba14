"""Weights and inputs by a fixed rule, and what remains of an output in a file.

Both sides fill by the names of the reference's own state_dict, so that a wrong mapping shows.
"""

import math
import zlib

import numpy as np
import torch


def uniform(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [-1, 1) that look random, the same everywhere: a hash of name and position."""
    x = np.arange(math.prod(shape), dtype=np.uint32)
    x += np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    return torch.from_numpy(x.astype(np.float32) / 2.0**31 - 1).reshape(shape)


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight: of a size at which signals neither vanish nor grow."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    values = uniform(name, shape)
    if len(shape) > 1:
        return values.mul_(math.sqrt(6 / math.prod(shape[1:])))
    positive = name.endswith((".running_var", ".weight"))
    return values.mul_(0.5).add_(1) if positive else values.mul_(0.1)


def digest(output: torch.Tensor) -> dict:
    """Shape, mean size and sixteen values spread over an output."""
    flat = output.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, 16).long()
    return {
        "shape": list(output.shape),
        "size": flat.abs().mean().item(),
        "values": flat[places].tolist(),
    }
