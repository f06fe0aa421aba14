"""The smoothing of stylised photographs: FastPhotoStyle's own system, derivatives, wrong calls."""

import numpy as np
import pytest
import torch
from scipy.sparse import diags_array, eye_array
from scipy.sparse.linalg import spsolve

import pyfast


def pair():
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(3, 14, 17, generator=generator, dtype=torch.float64)
    return 0.3 + 0.4 * torch.rand(3, 14, 17, generator=generator, dtype=torch.float64), content


@pytest.mark.parametrize("beta", [0.5, 0.9999])
def test_solves_the_authors_system(beta):
    result, content = pair()
    laplacian = pyfast.matting_laplacian(content, layout="scipy")
    ones = np.ones((14, 17))
    counts = np.zeros((14, 17))
    for y in range(12):
        for x in range(15):
            counts[y : y + 3, x : x + 3] += ones[:3, :3]
    affinity = diags_array(counts.ravel()) - laplacian
    scale = diags_array(counts.ravel() ** -0.5)
    system = eye_array(238) - beta * (scale @ affinity @ scale)
    expected = spsolve(system.tocsc(), (1 - beta) * result.flatten(1).T.numpy())
    ours = pyfast.photorealistic_smooth(result, content, beta, rtol=1e-10)
    np.testing.assert_allclose(ours.flatten(1).T.numpy(), expected.clip(0, 1), atol=1e-6)


def test_is_differentiable_in_both_pictures():
    result, content = (t[:, :5, :6].clone().requires_grad_() for t in pair())
    smooth = lambda *both: pyfast.photorealistic_smooth(*both, 0.9, epsilon=1e-2, rtol=1e-12)  # noqa: E731
    assert torch.autograd.gradcheck(smooth, (result, content))


def test_gives_back_what_came():
    result, content = ((t * 255).to(torch.uint8).permute(1, 2, 0).numpy() for t in pair())
    smooth = pyfast.photorealistic_smooth(result, content)
    assert smooth.dtype == np.uint8
    assert smooth.shape == result.shape


WRONG = {
    "sizes": (lambda a, b: (a, b[:, 1:]), {}, r"content of shape \(\.\.\., 14, 17\)"),
    "beta": (lambda a, b: (a, b, 1.0), {}, "beta between 0 and 1"),
    "epsilon": (lambda a, b: (a, b), {"epsilon": -1.0}, "epsilon to be positive"),
    "range": (lambda a, b: (a * 255, b), {}, "divide by 255"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name):
    arguments, options, match = WRONG[name]
    with pytest.raises(ValueError, match=match):
        pyfast.photorealistic_smooth(*arguments(*pair()), **options)


def test_local_maps_follow_a_change_of_colours():
    _, content = pair()
    change = torch.tensor([[0.5, 0.2, 0], [0, 0.7, 0.1], [0.1, 0, 0.6]], dtype=torch.float64)
    changed = torch.einsum("ij,jhw->ihw", change, content) + 0.05
    smooth = pyfast.local_affine_smooth(changed, content, epsilon=1e-9, sigma_xy=2.0)
    assert (smooth - changed).abs().max() < 1e-3


def test_local_maps_carry_no_noise():
    _, content = pair()
    noise = 0.1 * torch.rand(content.shape, dtype=torch.float64)
    noisy = 0.2 + 0.5 * content + noise
    smooth = pyfast.local_affine_smooth(noisy, content, radius=2, sigma_rgb=1.0)
    plain = 0.25 + 0.5 * content
    assert (smooth - plain).std() < 0.5 * noise.std()
    assert smooth.shape == content.shape


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"epsilon": 0.0}, ValueError, "epsilon to be positive"),
        ({"sigma_xy": "1"}, TypeError, "sigma_xy to be a number"),
        ({"radius": 0}, ValueError, "radius to be positive"),
    ],
)
def test_wrong_options_of_local_maps(options, error, match):
    with pytest.raises(error, match=match):
        pyfast.local_affine_smooth(*pair(), **options)
    with pytest.raises(ValueError, match="content of shape"):
        pyfast.local_affine_smooth(pair()[0], pair()[1][:1])
