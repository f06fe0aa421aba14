"""Where sampling ends: sizes, infinite gradients, mixed precision, unknown instruction sets."""

import os
import subprocess
import sys

import pytest
import torch

import pyfast


def test_a_side_that_positions_cannot_tell_apart_is_refused():
    image = torch.ones(1, 1, 1, 1).expand(1, 1, 1, 2**24 + 3)
    grid = torch.tensor([[[[-3.0, 0.0], [3.0, 0.0]]]])
    with pytest.raises(ValueError, match=r"H and W from 1 to 2\*\*24, got"):
        pyfast.grid_sample(image, grid, padding_mode="border")
    with pytest.raises(RuntimeError, match=r"from 1 to 2\^24"):
        torch.ops.pyfast.grid_sample(image, grid, 0, 1, False)


def test_the_longest_side_reads_its_ends():
    image = torch.zeros(1, 1, 1, 2**24)
    image[..., 0], image[..., -1] = 1, 2
    grid = torch.tensor([[[[-3.0, 0.0], [3.0, 0.0]]]])
    sampled = pyfast.grid_sample(image, grid, padding_mode="border")
    assert sampled.flatten().tolist() == [1, 2]


@pytest.mark.parametrize("channels", [1, 3, 17])
def test_an_infinite_gradient_stays_infinite(channels):
    image = torch.zeros(1, channels, 3, 3, requires_grad=True)
    out = pyfast.grid_sample(image, torch.full((1, 1, 1, 2), 0.1))
    out.backward(torch.full_like(out, torch.inf))
    assert image.grad.isinf().sum() == 4 * channels
    assert not image.grad.isnan().any()


def test_autocast_does_not_hide_a_mixture_with_float64():
    image, theta = torch.zeros(1, 1, 3, 3), torch.eye(2, 3, dtype=torch.float64)[None]
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(TypeError, match="theta of the dtype of input"),
    ):
        pyfast.affine_grid_sample(image, theta, (3, 3))


def test_an_unknown_instruction_set_is_named():
    code = "import pyfast; pyfast.affine_grid"
    env = os.environ | {"PYFAST_CPU_CAPABILITY": "sse9"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "PYFAST_CPU_CAPABILITY: expected one of baseline" in done.stderr
    assert "got 'sse9'" in done.stderr
