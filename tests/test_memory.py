"""Calls leave nothing behind: no memory, and no scratch that cannot be freed."""

from pathlib import Path

import pytest
import torch

import pyfast

IMAGE, THETA = torch.randn(1, 1, 8, 8), torch.eye(2, 3)[None]
GRID = pyfast.affine_grid(THETA, (1, 1, 8, 8))


def backward() -> None:
    theta = THETA.clone().requires_grad_()
    pyfast.affine_grid_sample(IMAGE, theta, (8, 8)).sum().backward()


CALLS = {
    "affine_grid": lambda: pyfast.affine_grid(THETA, (1, 1, 8, 8)),
    "grid_sample": lambda: pyfast.grid_sample(IMAGE, GRID),
    "affine_grid_sample": lambda: pyfast.affine_grid_sample(IMAGE, THETA, (8, 8)),
    "backward": backward,
}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("name", CALLS)
def test_calls_keep_no_memory(name):
    call = CALLS[name]
    growths = []
    for _ in range(3):  # the first rounds may still fill caches and pools
        before = resident_bytes()
        for _ in range(4000):
            call()
        growths.append(resident_bytes() - before)
    assert min(growths) < 4000 * 16, f"bytes kept by 4000 calls, three times: {growths}"


def test_scratch_is_kept_and_can_be_freed():
    pyfast.clear_scratch()
    pyfast.affine_grid_sample(torch.randn(1, 3, 64, 64), THETA, (64, 64))
    assert pyfast.clear_scratch() > 0
    assert pyfast.clear_scratch() == 0


def test_a_few_samples_of_a_large_image_take_little():
    image = torch.randn(1, 16, 400, 400)
    pyfast.clear_scratch()
    pyfast.affine_grid_sample(image, THETA, (5, 5), mode="bicubic")
    assert pyfast.clear_scratch() < image.nbytes / 10


def freed(*shape):
    """A tensor whose storage was given back, as sharded training does between its uses."""
    tensor = torch.rand(*shape)
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.parametrize(
    "call",
    [
        lambda: pyfast.affine_grid_sample(freed(2, 3, 8, 9), torch.zeros(2, 2, 3), (5, 6)),
        lambda: pyfast.affine_grid_sample(torch.zeros(2, 3, 8, 9), freed(2, 2, 3), (5, 6)),
        lambda: pyfast.grid_sample(torch.zeros(2, 3, 8, 9), freed(2, 5, 6, 2)),
        lambda: pyfast.affine_grid(freed(2, 2, 3), (2, 3, 5, 6)),
        lambda: pyfast.GaussianFilter(freed(1, 2, 50)),
        lambda: pyfast.dense_crf(freed(1, 3, 8, 9), torch.rand(1, 3, 8, 9)),
    ],
)
def test_a_tensor_without_memory_is_refused(call):
    with pytest.raises(ValueError, match="a tensor has no memory: it was freed"):
        call()
