"""Sampling against OpenCV, scikit-image and SciPy: maps in pixels, and which way they go."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

import pyfast

PADDINGS = ("zeros", "border", "reflection")


def smooth_image(height, width, channels=3):
    """Slopes of at most a fifth, so that libraries with coarse weights agree too."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / (7 + c)) + np.cos(y / (9 - c)) for c in range(channels)]
    return np.stack(waves, -1).astype(np.float32)


def tensor(image):
    return torch.from_numpy(image).movedim(-1, 0)[None]


AFFINE = np.array([[0.83, -0.41, 9.3], [0.29, 0.91, -4.7]])
PERSPECTIVE = np.array([[0.9, 0.1, 3.3], [-0.15, 1.1, 5.1], [0.0011, -0.0007, 1.0]])


def borders(cv2):
    return {
        ("zeros", False): cv2.BORDER_CONSTANT,
        ("border", False): cv2.BORDER_REPLICATE,
        ("reflection", False): cv2.BORDER_REFLECT,
        ("reflection", True): cv2.BORDER_REFLECT_101,
    }


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(
    ("padding", "corners"), [*((p, False) for p in PADDINGS), ("reflection", True)]
)
@pytest.mark.parametrize("function", ["warp_affine", "warp_perspective"])
def test_opencv_moves_the_same_pixels(function, padding, corners, mode, inverse):
    cv2 = pytest.importorskip("cv2")
    image, size = smooth_image(47, 61), (53, 58)
    matrix = AFFINE if function == "warp_affine" else PERSPECTIVE
    warp = cv2.warpAffine if function == "warp_affine" else cv2.warpPerspective
    flags = {
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "nearest": cv2.INTER_NEAREST,
    }[mode] | (cv2.WARP_INVERSE_MAP if inverse else 0)
    border = borders(cv2)[padding, corners]
    theirs = warp(image, matrix, size[::-1], flags=flags, borderMode=border)
    ours = getattr(pyfast, function)(
        tensor(image), torch.from_numpy(matrix), size, mode, padding, corners, inverse=inverse
    )
    difference = (ours - tensor(theirs)).abs()
    # OpenCV may round a position to 1/32 of a pixel, the nearest one too; next to zeros the
    # picture is steep.
    if mode == "nearest" or padding == "zeros":
        assert (difference > 0.02).float().mean() < 0.02
    else:
        assert difference.max() < 0.02


def test_the_whole_of_a_shifted_opencv_picture():
    """Whole pixels leave no room for rounding: which way a matrix goes, x before y, (H, W)."""
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).random((7, 9, 3), dtype=np.float32)
    shift = np.array([[1.0, 0, 3], [0, 1, -2]])
    theirs = cv2.warpAffine(image, shift, (11, 6))
    ours = pyfast.warp_affine(tensor(image), torch.from_numpy(shift), (6, 11))
    assert_close(ours, tensor(theirs))
    theirs = cv2.warpPerspective(image, np.vstack([shift, [0, 0, 1]]), (11, 6))
    square = torch.from_numpy(np.vstack([shift, [0, 0, 1]]))
    assert_close(pyfast.warp_perspective(tensor(image), square, (6, 11)), tensor(theirs))


def test_skimage_moves_the_same_pixels():
    """Its `warp` takes the map from the output to the input, (x, y) too."""
    transform = pytest.importorskip("skimage.transform")
    image = smooth_image(47, 61).astype(np.float64)
    for mode, padding in (("constant", "zeros"), ("edge", "border"), ("symmetric", "reflection")):
        inverse_map = transform.ProjectiveTransform(PERSPECTIVE)
        theirs = transform.warp(image, inverse_map, output_shape=(53, 58), order=1, mode=mode)
        ours = pyfast.warp_perspective(
            tensor(image),
            torch.from_numpy(PERSPECTIVE),
            (53, 58),
            padding_mode=padding,
            inverse=True,
        )
        # Beyond the outermost centres it fades to another picture: the rim is left out.
        inside = tensor(
            transform.warp(np.ones((45, 59, 3)), inverse_map, output_shape=(53, 58), order=0)
        ).bool()
        assert_close(ours[inside], tensor(theirs)[inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 11), (5, 9, 11)])
@pytest.mark.parametrize(
    ("padding", "corners", "mode"),
    [
        ("zeros", False, "grid-constant"),
        ("border", False, "nearest"),
        ("reflection", False, "reflect"),
        ("reflection", True, "mirror"),
    ],
)
def test_scipy_reads_the_same_places(shape, padding, corners, mode):
    rng = np.random.default_rng(1)
    image, dims = rng.random(shape), len(shape)
    flow = rng.normal(0, 4, (dims, *shape))
    # A flow is x first and relative, SciPy's coordinates are those of the axes.
    coordinates = np.indices(shape) + flow[::-1]
    theirs = ndimage.map_coordinates(image, coordinates, order=1, mode=mode)
    ours = pyfast.warp(
        torch.from_numpy(image)[None, None],
        torch.from_numpy(flow)[None],
        padding_mode=padding,
        align_corners=corners,
    )
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-12)


def test_scipy_turns_volumes_alike():
    """`affine_transform` maps output indices (z, y, x) to input indices."""
    rng = np.random.default_rng(2)
    volume = rng.random((6, 7, 8))
    matrix = np.eye(3) + 0.2 * rng.normal(size=(3, 3))
    shift = rng.normal(size=3)
    theirs = ndimage.affine_transform(
        volume, matrix, shift, output_shape=(5, 9, 10), order=1, mode="grid-constant"
    )
    theta = torch.from_numpy(np.hstack([matrix[::-1, ::-1], shift[::-1, None]]).copy())
    ours = pyfast.warp_affine(torch.from_numpy(volume)[None, None], theta, (5, 9, 10), inverse=True)
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-12)


def test_a_flow_and_its_inverse_give_the_picture_back():
    image = tensor(smooth_image(40, 50))
    shift = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 40, 50)
    back = pyfast.warp(pyfast.warp(image, shift), -shift)
    assert_close(back[:, :, 2:-2, 3:-3], image[:, :, 2:-2, 3:-3])
