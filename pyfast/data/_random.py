"""Random numbers that depend on a seed and on the index of a sample, and on nothing else.

A generator's state would tie a sample to those before it; here each number is a hash of its place,
so that a batch is drawn at once and a run that goes on finds the same samples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Seed = int | tuple[int, ...]


def uniform(seed: Seed, indices: Sequence[int], count: int) -> Tensor:
    """Numbers in (0, 1), (N, count), float32: a row for each index.

    Args:
        seed: one number or several; other seeds give other numbers.
        indices: of the samples, not negative.
        count: how many numbers a sample has.

    Reference: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014 (the mixing
        function).
    """
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    place = np.asarray(indices, np.uint64)[:, None] * np.uint64(count)
    place = place + np.arange(1, count + 1, dtype=np.uint64)
    bits = key + place * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    # 23 bits: with the half no number rounds to 1.
    return torch.from_numpy(((bits >> np.uint64(41)) + 0.5) * 2.0**-23).float()


def normal(seed: Seed, indices: Sequence[int], count: int) -> Tensor:
    """Numbers of the standard normal distribution, (N, count), float32; arguments as above."""
    return torch.special.ndtri(uniform(seed, indices, count))


def choice(seed: Seed, indices: Sequence[int], count: int, options: int) -> Tensor:
    """Integers from 0 to options - 1, (N, count), int64; arguments as above."""
    return (uniform(seed, indices, count) * options).long()


def seed_of(*numbers: int) -> int:
    """A seed of 64 bits for several numbers, such as those of a run, an epoch and a sample.

    The mixing function of `uniform`, in plain Python: a microsecond.
    """
    state, mask = 0, 2**64 - 1
    for number in numbers:
        state = (state + number + 1) * 0x9E3779B97F4A7C15 & mask
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state
