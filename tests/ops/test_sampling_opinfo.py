"""PyTorch's own samples for `grid_sample`, from the tests of torch."""

import pytest
import torch
from torch.testing import assert_close

import pyfast

OPINFO = "torch.testing._internal.common_methods_invocations"


def grid_sample_of_torch():
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as error:
        pytest.skip(f"{OPINFO} cannot be imported: {error}")
    (found,) = [info for info in op_db if info.name == "nn.functional.grid_sample"]
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str
)
def test_the_samples_of_torch(dtype):
    """Values and gradients, for half against torch's in float32, whose own half is wrong."""
    torch.manual_seed(0)
    info, count = grid_sample_of_torch(), 0
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


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_torch_refuses_is_refused():
    info, count = grid_sample_of_torch(), 0
    for wrong in info.error_inputs("cpu"):
        sample = wrong.sample_input
        with pytest.raises((TypeError, ValueError), match=r"^grid_sample: expected"):
            pyfast.grid_sample(sample.input, *sample.args, **sample.kwargs)
        count += 1
    assert count > 3
