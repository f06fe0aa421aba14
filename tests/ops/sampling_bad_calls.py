"""Calls of sampling that have to fail, and what they have to say."""

import numpy as np
import torch

import pyfast
from pyfast.testing import BadCall


def nested(tensor, layout=torch.strided):
    return torch.nested.nested_tensor(list(tensor), layout=layout)


IMAGE, GRID, THETA = torch.ones(2, 3, 4, 5), torch.zeros(2, 6, 7, 2), torch.zeros(2, 2, 3)
FLOW, SQUARE = torch.zeros(2, 2, 6, 7), torch.eye(3).repeat(2, 1, 1)


def bad_calls(
    op, call, places, places_name, places_shape, more=(), image_name="input", accepted=()
):
    """What every sampler refuses, but for what is `accepted`; `call(input, places, **options)`."""
    meta = IMAGE.to("meta")
    listed = {
        "an array for input": (
            lambda: call(IMAGE.numpy(), places),
            TypeError,
            "expected input to be a torch.Tensor, got numpy.ndarray",
        ),
        "a proxy of torch.fx for input": (
            lambda: call(torch.fx.Proxy(torch.fx.Graph().placeholder("input")), places),
            TypeError,
            "got torch.fx.proxy.Proxy; torch.fx.symbolic_trace takes the call in a function under",
        ),
        "a list for places": (
            lambda: call(IMAGE, places.tolist()),
            TypeError,
            f"expected {places_name} to be a torch.Tensor, got builtins.list",
        ),
        "None for input": (lambda: call(None, places), TypeError, "expected input to be a"),
        "input of rank 3": (
            lambda: call(IMAGE[0], places),
            ValueError,
            r"expected input of shape \(2, C, H, W\) or \(1, C, H, W\), got \(3, 4, 5\)",
        ),
        "input of rank 5": (lambda: call(IMAGE[None], places), ValueError, "expected input of sh"),
        "places of a wrong rank": (
            lambda: call(IMAGE, places[0]),
            ValueError,
            f"expected {places_name} of shape {places_shape}",
        ),
        "a wrong last dimension": (
            lambda: call(IMAGE, torch.cat([places, places], -1)),
            ValueError,
            f"expected {places_name} of shape {places_shape}",
        ),
        "another batch": (
            lambda: call(IMAGE.repeat(2, 1, 1, 1), places),
            ValueError,
            r"expected input of shape \(2, C, H, W\) or \(1, C, H, W\), got \(4, 3, 4, 5\)",
        ),
        "an image without rows": (
            lambda: call(IMAGE[:, :, :0], places),
            ValueError,
            "expected input of shape .* with H and W from 1 to",
        ),
        "integers": (
            lambda: call(IMAGE.long(), places),
            TypeError,
            "expected input of float16, bfloat16, float32 or float64, got torch.int64",
        ),
        "a quantised input": (
            lambda: call(torch.quantize_per_tensor(IMAGE, 0.1, 0, torch.quint8), places),
            TypeError,
            "expected input of float16, bfloat16, float32 or float64, got torch.quint8",
        ),
        "a half and float64": (
            lambda: call(IMAGE.half(), places.double()),
            TypeError,
            f"expected {places_name} of the dtype of input, torch.float16 or float32, got",
        ),
        "two halves": (
            lambda: call(IMAGE.half(), places.bfloat16()),
            TypeError,
            f"expected {places_name} of the dtype of input, torch.float16 or float32, got",
        ),
        "an image in half with places in full": (
            lambda: call(IMAGE, places.half()),
            TypeError,
            f"expected {places_name} of the dtype of input, torch.float32, got torch.float16",
        ),
        "two dtypes": (
            lambda: call(IMAGE, places.double()),
            TypeError,
            f"expected {places_name} of the dtype of input, torch.float32, got torch.float64",
        ),
        "two devices": (
            lambda: call(meta, places),
            ValueError,
            f"expected {places_name} on the device of input, meta, got cpu",
        ),
        "an unknown mode": (
            lambda: call(IMAGE, places, mode="linear"),
            ValueError,
            "expected mode to be one of bilinear, nearest, bicubic, got 'linear'",
        ),
        "an unknown padding": (
            lambda: call(IMAGE, places, padding_mode="wrap"),
            ValueError,
            "expected padding_mode to be one of zeros, border, reflection, got 'wrap'",
        ),
        "a mode with a typing error": (
            lambda: call(IMAGE, places, mode="bilnear"),
            ValueError,
            "one of bilinear, nearest, bicubic, got 'bilnear'; did you mean 'bilinear'",
        ),
        "a mode that is no string": (
            lambda: call(IMAGE, places, mode=["bilinear"]),
            ValueError,
            "expected mode to be one of",
        ),
        "an array for mode": (
            lambda: call(IMAGE, places, mode=np.array(["bilinear", "nearest"])),
            ValueError,
            "expected mode to be one of bilinear, nearest, bicubic, got array",
        ),
        "an array for padding_mode": (
            lambda: call(IMAGE, places, padding_mode=np.array("zeros")),
            ValueError,
            "expected padding_mode to be one of",
        ),
        "an array for align_corners": (
            lambda: call(IMAGE, places, align_corners=np.array([True, False])),
            TypeError,
            "expected align_corners to be True, False or None, got array",
        ),
        "a word for align_corners": (
            lambda: call(IMAGE, places, align_corners="False"),
            TypeError,
            "expected align_corners to be True, False or None, got 'False'",
        ),
        "a number for align_corners": (
            lambda: call(IMAGE, places, align_corners=1),
            TypeError,
            "expected align_corners to be True, False or None, got 1",
        ),
        "a sparse input": (
            lambda: call(IMAGE.to_sparse(), places),
            TypeError,
            "expected input to be a dense torch.Tensor, got one that is torch.sparse_coo",
        ),
        "sparse places": (
            lambda: call(IMAGE, places.to_sparse()),
            TypeError,
            f"expected {places_name} to be a dense torch.Tensor, got one that is torch.sparse_coo",
        ),
        "a nested input": (
            lambda: call(nested(IMAGE), places),
            TypeError,
            "expected input to be a dense torch.Tensor, got one that is nested",
        ),
        "nested places": (
            lambda: call(IMAGE, nested(places, torch.jagged)),
            TypeError,
            f"expected {places_name} to be a dense torch.Tensor, got one that is nested",
        ),
        **dict(more),
    }
    return tuple(
        BadCall(what, call, error, f"^{op}: .*{match.replace('input', image_name)}")
        for what, (call, error, match) in listed.items()
        if what not in accepted
    )


def size_errors(op, call):
    """What every function with a size refuses; `call(size)` for theta of batch 2."""
    return {
        f"size {size!r}": (lambda size=size: call(size), error, match)
        for size, error, match in [
            ((2, 3, 0, 4), ValueError, "expected positive sizes, got"),
            ((2, 3, 4, -1), ValueError, "expected positive sizes, got"),
            ((2, 3, 4.0, 5), TypeError, "expected size to hold integers, got 4.0"),
            ((2, 3, "4", 5), TypeError, "expected size to hold integers, got '4'"),
            ((2, 3, True, 5), TypeError, "expected size to hold integers, got True"),
            ((2, 3, np.float32(4), 5), TypeError, "expected size to hold integers, got"),
            ((2, 3, [4], 5), TypeError, r"expected size to hold integers, got \[4\]"),
            ("2345", TypeError, "expected size to be a tuple of integers, got '2345'"),
            (b"2345", TypeError, "expected size to be a tuple of integers, got b'2345'"),
            (b"44", TypeError, "expected size to be a tuple of integers, got b'44'"),
            (np.array([2, 3, 4, 5]), TypeError, "expected size to be a tuple of integers, got"),
            ((3, 3, 4, 5), ValueError, "expected"),
            ((4,), ValueError, "expected size"),
            ((2, 3, 4, 5, 6), ValueError, "expected size"),
            ((2, 3, 2**40, 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, 2**30, 2**30), ValueError, "expected a size that memory can hold"),
            ((2, 3, *[np.int32(2**30)] * 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, 2**100, 2), ValueError, "expected a size that memory can hold"),
            ((2, 3, -(2**100), 2), ValueError, "expected positive sizes, got"),
            (7, TypeError, "expected size"),
            (None, TypeError, "expected size"),
        ]
    }


def affine_grid_bad_calls():
    size = (2, 1, 4, 5)
    listed = {
        "an array": (
            lambda: pyfast.affine_grid(THETA.numpy(), size),
            TypeError,
            "expected theta to be a torch.Tensor",
        ),
        "a sparse theta": (
            lambda: pyfast.affine_grid(THETA.to_sparse_csr(), size),
            TypeError,
            "expected theta to be a dense torch.Tensor, got one that is torch.sparse_csr",
        ),
        "a nested theta": (
            lambda: pyfast.affine_grid(nested(THETA), size),
            TypeError,
            "expected theta to be a dense torch.Tensor, got one that is nested",
        ),
        "a number for align_corners": (
            lambda: pyfast.affine_grid(THETA, size, align_corners=0.5),
            TypeError,
            "expected align_corners to be True, False or None, got 0.5",
        ),
        "1 for align_corners": (
            lambda: pyfast.affine_grid(THETA, size, align_corners=1),
            TypeError,
            "expected align_corners to be True, False or None, got 1",
        ),
        "integers": (
            lambda: pyfast.affine_grid(THETA.int(), size),
            TypeError,
            "expected theta of float16, bfloat16, float32 or float64, got torch.int32",
        ),
        "rank 2": (
            lambda: pyfast.affine_grid(THETA[0], size),
            ValueError,
            r"expected theta of shape \(2, 2, 3\), got \(2, 3\)",
        ),
        "last dimension 4": (
            lambda: pyfast.affine_grid(torch.zeros(2, 2, 4), size),
            ValueError,
            r"expected theta of shape \(2, 2, 3\), got \(2, 2, 4\)",
        ),
        "last dimension 3 in a volume": (
            lambda: pyfast.affine_grid(torch.zeros(2, 3, 3), (2, 1, 4, 5, 6)),
            ValueError,
            r"expected theta of shape \(2, 3, 4\), got \(2, 3, 3\)",
        ),
        "the size of a volume": (
            lambda: pyfast.affine_grid(THETA, (2, 1, 4, 5, 6)),
            ValueError,
            r"expected size \(N, C, H, W\), got \(2, 1, 4, 5, 6\)",
        ),
        **size_errors("affine_grid", lambda size: pyfast.affine_grid(THETA, size)),
    }
    return tuple(
        BadCall(what, call, error, f"^affine_grid: .*{match}")
        for what, (call, error, match) in listed.items()
    )


def warp_errors(op, matrix, form):
    """What `warp_affine` and `warp_perspective` refuse."""
    function = getattr(pyfast, op)
    listed = {
        "a size with batch": (
            lambda: function(IMAGE, matrix, (2, 3, 4, 5)),
            ValueError,
            r"expected size \(H, W\), got \(2, 3, 4, 5\)",
        ),
        "a size of words": (
            lambda: function(IMAGE, matrix, "45"),
            TypeError,
            "expected size to be a tuple of integers, got '45'",
        ),
        "integers for the matrix": (
            lambda: function(IMAGE, matrix.int()),
            TypeError,
            "expected matrix of floats, got torch.int32",
        ),
        "a word for inverse": (
            lambda: function(IMAGE, matrix, inverse="no"),
            TypeError,
            "expected inverse to be True, False or None, got 'no'",
        ),
        "a number for inverse": (
            lambda: function(IMAGE, matrix, inverse=1),
            TypeError,
            "expected inverse to be True, False or None, got 1",
        ),
        "an image of rank 3 for one matrix": (
            lambda: function(IMAGE[0], matrix[0]),
            ValueError,
            r"expected image of shape \(N, C, H, W\), got \(3, 4, 5\)",
        ),
        "one matrix of a wrong shape": (
            lambda: function(IMAGE, matrix[0].T[:2]),
            ValueError,
            f"expected matrix of shape {form}, got",
        ),
    }
    accepted = (
        "places of a wrong rank",  # one matrix serves all images
        "two dtypes",
        "a half and float64",
        "two halves",
        "an image in half with places in full",
    )

    def call(image, matrix, **options):
        return function(image, matrix, inverse=True, **options)

    return bad_calls(op, call, matrix, "matrix", form, listed, "image", accepted)
