"""PyTorch's own samples for `grid_sample`, from the tests of torch."""

import pytest
import torch
from torch.testing import assert_close
from torch_samples import info_of

import pyfast


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str
)
def test_the_samples_of_torch(dtype):
    """Values and gradients, for half against torch's in float32, whose own half is wrong."""
    torch.manual_seed(0)
    info, count = info_of("nn.functional.grid_sample"), 0
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for sample in info.sample_inputs("cpu", dtype, requires_grad=True):
        points = [sample.input, *sample.args[:1]]
        options = sample.args[1:], sample.kwargs
        result = pyfast.grid_sample(*points, *options[0], **options[1])
        widened = [p.detach().to(wide).requires_grad_() for p in points]
        expected = info.op(*widened, *options[0], **options[1])
        tolerance = 1e-10 if wide == torch.float64 else max(1e-5, torch.finfo(dtype).eps)
        gradient = torch.rand(result.shape).to(dtype)
        found = torch.autograd.grad(result, points, gradient)
        wanted = torch.autograd.grad(expected, widened, gradient.to(wide))
        for a, b in zip((result, *found), (expected, *wanted), strict=True):
            scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
            assert a.dtype == dtype
            assert_close(a.to(wide), b, rtol=0, atol=2 * tolerance * scale)
        count += 1
    assert count > 10
