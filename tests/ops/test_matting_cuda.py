"""Matting on a GPU against the CPU; tests/simt runs the same kernels where there is no GPU."""

import numpy as np
import pytest
import torch
from torch import Tensor

import pyfast
from pyfast._native import _C
from pyfast.data import matte_scene

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _C.with_cuda), reason="needs a GPU and its kernels"
)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return matte_scene(60, 80).image.double()


def test_matrix_on_cuda(image: Tensor) -> None:
    for layout in ("csr", "coo"):
        found = pyfast.matting_laplacian(image.cuda(), layout=layout)
        assert found.device.type == "cuda"
        expected = pyfast.matting_laplacian(image, layout=layout)
        torch.testing.assert_close(found.cpu().to_dense(), expected.to_dense(), atol=1e-9, rtol=0)
    array = pyfast.matting_laplacian(image.cuda(), layout="scipy")
    np.testing.assert_allclose(array.toarray(), expected.to_dense(), atol=1e-9)


def test_products_on_cuda(image: Tensor) -> None:
    ours, theirs = pyfast.MattingLaplacian(image.cuda()), pyfast.MattingLaplacian(image)
    v = torch.randn(4800, 3, dtype=torch.float64)
    torch.testing.assert_close((ours @ v.cuda()).cpu(), theirs @ v, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(ours.diagonal().cpu(), theirs.diagonal(), atol=1e-9, rtol=0)
    np.testing.assert_allclose(ours @ v.numpy(), theirs @ v.numpy(), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_energy_on_cuda(image: Tensor, dtype: torch.dtype) -> None:
    v = torch.rand(2, 3, 60, 80, dtype=torch.float64)
    results = []
    for device in ("cuda", "cpu"):
        leaves = [
            a.to(device, dtype if device == "cuda" else torch.float64).requires_grad_()
            for a in (v, image.expand(2, -1, -1, -1))
        ]
        energy = pyfast.matting_energy(*leaves, 1e-4)
        results.append([energy, *torch.autograd.grad(energy.sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        scale = expected.abs().max()
        tolerance = 1e-10 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(
            found.detach().cpu().double() / scale, expected.detach() / scale, atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("marks", ["trimap", "scribbles"])
def test_alpha_on_cuda(marks: str) -> None:
    scene = matte_scene(120, 160)
    trimap = getattr(scene, marks).double()
    expected, on_cpu = pyfast.estimate_alpha(
        scene.image.double(), trimap, rtol=1e-9, return_info=True
    )
    seen: list[int] = []
    results = [
        pyfast.estimate_alpha(
            scene.image.double().cuda(),
            trimap.cuda(),
            rtol=1e-9,
            return_info=True,
            callback=lambda iteration, residual, rtol: seen.append(iteration),
        )
        for _ in range(2)
    ]
    (alpha, info), (again, _) = results
    assert alpha.device.type == "cuda"
    assert info.converged
    assert info.iterations <= 1.5 * on_cpu.iterations
    assert seen
    torch.testing.assert_close(alpha.cpu(), expected, atol=1e-5, rtol=0)
    assert torch.equal(alpha, again)


def test_alpha_on_another_stream_of_cuda() -> None:
    scene = matte_scene(60, 80)
    image, trimap = scene.image.double().cuda(), scene.trimap.double().cuda()
    expected = pyfast.estimate_alpha(image, trimap)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = pyfast.estimate_alpha(image, trimap)
    stream.synchronize()
    assert torch.equal(found, expected)


def test_adjoint_solve_on_cuda(image: Tensor) -> None:
    gradients = []
    for device in ("cuda", "cpu"):
        leaves = [
            torch.rand(60, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
            .to(device)
            .requires_grad_()
            for k in (1, 2)
        ]
        alpha = pyfast.estimate_alpha(
            image.to(device), prior=leaves[0], confidence=leaves[1], rtol=1e-10
        )
        gradients.append(torch.autograd.grad(alpha.square().sum(), leaves))
    for found, expected in zip(*gradients, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(found.cpu() / scale, expected / scale, atol=1e-6, rtol=0)


def test_too_many_channels_on_cuda() -> None:
    with pytest.raises(ValueError, match="at most 7 channels on CUDA, got 8"):
        pyfast.matting_laplacian(torch.rand(8, 5, 6, dtype=torch.float64, device="cuda"))


def test_arrays_on_cuda(image: Tensor) -> None:
    v, picture = torch.rand(1, 2, 60, 80, dtype=torch.float64), image[None]
    out = tuple(
        torch.empty(s, dtype=v.dtype, device="cuda") for s in ((1,), v.shape, picture.shape)
    )
    stream = torch.cuda.current_stream().cuda_stream
    _C.matting_energy(v.cuda(), picture.cuda(), out=out, stream=stream)
    product = torch.empty_like(out[1])
    _C.matting_product(v.cuda(), picture.cuda(), out=product, stream=stream)
    expected = _C.matting_energy(v.numpy(), picture.numpy())
    for ours, theirs in zip((*out, 2 * product), (*expected, expected[1]), strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours.cpu().numpy() / scale, theirs / scale, atol=1e-10)
