"""What convolutions and heads need forward and backward, beyond their results and gradients."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` belongs to the tree
pytest.importorskip("benchmarks", reason="the benchmarks are not here")

from benchmarks.memory import MEGABYTE, in_child
from benchmarks.ops.conv_memory import MOST

NAMES = (
    "depthwise-d12-4x256x65x65-channels_last",
    "depthwise-d2-2-outputs-1x64x400x400",
    "few-d4-4x21x90x90",
    "dense-d2-winograd4-1x512x66x66",
    "aspp_sum-1x2048x65x65",
    "context_module-4x21x66x66",
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_forward_and_backward_need_little_beyond_results():
    found = in_child("benchmarks.ops.conv_memory", *NAMES)
    needed = {name: round(of["pyfast"] / MEGABYTE, 1) for name, of in found.items()}
    assert set(needed) == set(NAMES)
    assert max(needed.values()) <= MOST / MEGABYTE, needed
