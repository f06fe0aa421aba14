"""Where sampling ends: sizes, infinite gradients, mixed precision, unknown instruction sets."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

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


# --- more than 2^31 elements ----------------------------------------------------------------------

HUGE = [
    # (N, C, (D,) H, W): one plane, many channels, many images, a volume
    (1, 1, 50000, 44000),
    (1, 18, 11000, 11000),
    (40, 1, 8000, 7000),
    (1, 2, 1040, 1040, 1040),
]


def sparse_file(path, shape, dtype=torch.float32):
    """Zeros of a file without blocks: memory is used where something is read or written."""
    size = math.prod(shape)
    assert size > 2**31
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("shape", HUGE, ids=str)
def test_offsets_have_64_bits(tmp_path, shape, mode):
    """The last corner of the last channel of the last image."""
    dims = len(shape) - 2
    if mode == "bicubic" and dims == 3:
        pytest.skip("bicubic is for images")
    image = sparse_file(tmp_path / "image", shape)
    image[(-1, -1, ..., *([slice(-3, None)] * dims))] = 5
    ends = torch.eye(dims, dims + 1)
    ends[:, -1] = torch.tensor(shape[:1:-1]) - 2.0
    eye, size, options = torch.eye(dims, dims + 1), (2,) * dims, (mode, "border")
    last = image if shape[0] == 1 else image[-1:]
    found = {
        "warp_affine": pyfast.warp_affine(last, ends, size, *options, inverse=True),
        "grid_sample": pyfast.grid_sample(
            last, torch.ones(1, *size, dims) - 1e-6, *options, align_corners=True
        ),
        "warp": pyfast.warp(last, ends[:, -1].view(1, dims, *[1] * dims).expand(1, dims, *size)),
        "affine_grid_sample": pyfast.affine_grid_sample(
            last, torch.cat([eye[:, :-1] * 0, torch.ones(dims, 1)], 1)[None], size, *options
        ),
    }
    for name, result in found.items():
        assert result.shape == (1, shape[1], *size)
        assert_close(result[0, -1], torch.full(size, 5.0), msg=lambda text, n=name: f"{n}: {text}")
        assert not result[0, :-1].any()
    if shape[0] > 1:  # all images in one call, each at its own corner
        result = pyfast.warp_affine(image, ends, size, *options, inverse=True)
        assert_close(result[-1, -1], torch.full(size, 5.0))
        assert not result[:-1].any()


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


def test_a_result_that_memory_cannot_hold_is_said_in_words():
    image, theta = torch.rand(1, 1, 4, 4), torch.eye(2, 3)[None]
    with pytest.raises(torch.OutOfMemoryError, match="affine_grid_sample: there is no memory"):
        pyfast.affine_grid_sample(image, theta, (10**6, 10**6))


def test_more_elements_than_a_tensor_has_are_said_in_words_too():
    flow = torch.zeros(1).expand(2, 2, 2**30, 2**30)
    with pytest.raises(torch.OutOfMemoryError, match=r"^warp: there is no memory for a result"):
        pyfast.warp(torch.rand(2, 3, 4, 5), flow)
    with pytest.raises(torch.OutOfMemoryError, match=r"^warp_affine: there is no memory"):
        pyfast.warp_affine(torch.rand(1, 1, 4, 5), torch.eye(2, 3).expand(2**40, 2, 3))
