"""Calls that crash pydensecrf or that it answers wrongly, one after another in this process.

Prints a line of JSON for each, before and after, so that whoever reads knows which one crashed.
"""

import json

import numpy as np

from pyfast.compat.pydensecrf.densecrf import ConstUnary, DenseCRF, DenseCRF2D, LogisticUnary

W, H, L = 6, 5, 3
N = W * H
U = np.random.default_rng(0).random((L, N)).astype(np.float32)
IMAGE = np.random.default_rng(1).integers(0, 256, (H, W, 3), np.uint8)
NAN, INF = float("nan"), float("inf")


def crf():
    made = DenseCRF2D(W, H, L)
    made.setUnaryEnergy(U)
    return made


def changed(array, value, *places):
    array = np.array(array, float)
    for place in places:
        array[place] = value
    return array


def gaussian(sxy, compat=3, **options):
    return lambda: crf().addPairwiseGaussian(sxy, compat, **options)


def bilateral(sxy=5, srgb=9, image=IMAGE, compat=3, **options):
    return lambda: crf().addPairwiseBilateral(sxy, srgb, image, compat, **options)


def features(values, compat=3):
    return lambda: crf().addPairwiseEnergy(values, compat)


POINTS = np.random.default_rng(2).random((4, N))

# Name: (call, error, what its text must name).
CALLS = {
    "sxy 0": (gaussian(0), ValueError, "sxy"),
    "sxy (3, 0)": (gaussian((3, 0)), ValueError, "sxy"),
    "sxy negative": (gaussian(-1), ValueError, "sxy"),
    "sxy NaN": (bilateral(sxy=NAN), ValueError, "sxy"),
    "sxy infinite": (bilateral(sxy=(INF, 3)), ValueError, "sxy"),
    "sxy 1e-12": (bilateral(sxy=1e-12), ValueError, "sxy"),
    "sxy 1e-6 of places, not normalised": (gaussian(1e-12, normalization=0), ValueError, "sxy"),
    "sxy one of two": (gaussian((3,)), ValueError, "sxy"),
    "sxy text": (gaussian("3"), TypeError, "sxy"),
    "srgb 0": (bilateral(srgb=0), ValueError, "srgb"),
    "srgb 1e-12": (bilateral(srgb=1e-12), ValueError, "srgb"),
    "srgb negative": (bilateral(srgb=(3, -3, 3)), ValueError, "srgb"),
    "srgb two of three": (bilateral(srgb=(1, 2)), ValueError, "srgb"),
    "image of other size": (bilateral(image=np.zeros((W, H, 3), "u1")), ValueError, "rgbim"),
    "image without channels": (bilateral(image=np.zeros((H, W, 0), "u1")), ValueError, "rgbim"),
    "image with NaN": (bilateral(image=changed(IMAGE, NAN, (1, 2, 0))), ValueError, "rgbim"),
    "image infinite": (bilateral(image=changed(IMAGE, INF, (1, 2, 0))), ValueError, "rgbim"),
    "image of text": (bilateral(image=np.full((H, W, 3), "a")), TypeError, "rgbim"),
    "features with NaN": (features(changed(POINTS, NAN, (0, 0))), ValueError, "features"),
    "features infinite": (features(changed(POINTS, -INF, (3, 9))), ValueError, "features"),
    "features too far": (features(1e12 * POINTS), ValueError, "features"),
    "features without rows": (features(np.zeros((0, N))), ValueError, "features"),
    "features of 99 rows": (features(np.zeros((99, N))), ValueError, "features"),
    "features of other size": (features(POINTS[:, 1:]), ValueError, "features"),
    "features (N,)": (features(POINTS[0]), ValueError, "features"),
    "compat too short": (gaussian(3, np.ones(2)), ValueError, "compat"),
    "compat too long": (gaussian(3, np.ones(N)), ValueError, "compat"),
    "compat 5 x 5": (gaussian(3, np.ones((5, 5))), ValueError, "compat"),
    "compat of three dimensions": (gaussian(3, np.ones((L, L, 1))), ValueError, "compat"),
    "compat NaN": (gaussian(3, NAN), ValueError, "compat"),
    "compat beyond float32": (gaussian(3, 1e39), ValueError, "compat to be finite in float32"),
    "compat none": (gaussian(3, None), TypeError, "compat"),
    "kernel 7": (gaussian(3, kernel=7), ValueError, "kernel"),
    "normalization 9": (gaussian(3, normalization=9), ValueError, "normalization"),
    "normalization text": (gaussian(3, normalization="after"), TypeError, "normalization"),
    "energy NaN": (lambda: crf().setUnaryEnergy(changed(U, NAN, (1, 4))), ValueError, "u not"),
    "energy -inf": (lambda: crf().setUnaryEnergy(changed(U, -INF, (1, 4))), ValueError, "u above"),
    "no label possible": (
        lambda: crf().setUnaryEnergy(changed(U, INF, (slice(None), 4))),
        ValueError,
        r"u to leave every variable a label, got inf for all at [4]",
    ),
    "energies beyond float32": (
        lambda: crf().setUnaryEnergy(changed(U, 1e300, (slice(None), 4))),
        ValueError,
        "u to leave",
    ),
    "energies (N, L)": (lambda: crf().setUnaryEnergy(U.T), ValueError, "u of shape (3, 30)"),
    "energies (L, W, H)": (
        lambda: crf().setUnaryEnergy(U.reshape(L, W, H)),
        ValueError,
        "u of shape (3, 30) or (3, 5, 6)",
    ),
    "energies (N,)": (lambda: crf().setUnaryEnergy(U[0]), ValueError, "u of two"),
    "energies of text": (lambda: crf().setUnaryEnergy([["a"]]), TypeError, "u to hold"),
    "energies complex": (lambda: crf().setUnaryEnergy(U * 1j), TypeError, "u to hold"),
    "logistic of other size": (lambda: crf().setUnaryEnergy(U, U), ValueError, "f of shape"),
    "logistic NaN": (lambda: LogisticUnary(U[:, :3], NAN * U), ValueError, "f to be finite"),
    "unary of other size": (
        lambda: crf().setUnary(ConstUnary(U[:2])),
        ValueError,
        "u of shape (3, 30)",
    ),
    "unary none": (lambda: crf().setUnary(None), TypeError, "u to be a ConstUnary"),
    "unary an array": (lambda: crf().setUnary(U), TypeError, "setUnaryEnergy"),
    "width 0": (lambda: DenseCRF2D(0, H, L), ValueError, "w of at least 1"),
    "width negative": (lambda: DenseCRF2D(-W, H, L), ValueError, "w of at least 1"),
    "height 0": (lambda: DenseCRF2D(W, 0, L), ValueError, "h of at least 1"),
    "no labels": (lambda: DenseCRF2D(W, H, 0), ValueError, "nlabels of at least 1"),
    "no variables": (lambda: DenseCRF(0, L), ValueError, "nvar of at least 1"),
    "half a variable": (lambda: DenseCRF(4.5, L), ValueError, "nvar to be whole"),
    "variables text": (lambda: DenseCRF("4", L), TypeError, "nvar"),
    "iterations negative": (lambda: crf().inference(-1), ValueError, "niter of at least 0"),
    "iterations 2.5": (lambda: crf().inference(2.5), ValueError, "niter to be whole"),
    "iterations none": (lambda: crf().inference(None), TypeError, "niter"),
    "step of other size": (
        lambda: crf().stepInference(np.zeros((2, 2)), None, None),
        ValueError,
        "Q of shape (3, 30)",
    ),
    "step of a list": (
        lambda: crf().stepInference(U.tolist(), 0, 0),
        TypeError,
        "Q to be an array",
    ),
    "step of NaN": (lambda: crf().stepInference(U * NAN, None, None), ValueError, "Q to be finite"),
    "divergence of other size": (lambda: crf().klDivergence(U.T), ValueError, "Q of shape"),
    "30000 x 30000": (
        lambda: DenseCRF2D(30000, 30000, 2).addPairwiseBilateral(
            5, 9, np.broadcast_to(np.zeros((1, 1, 3), "u1"), (30000, 30000, 3)), 3
        ),
        ValueError,
        "rgbim",
    ),
}

if __name__ == "__main__":
    for name, (call, _, _) in CALLS.items():
        print(json.dumps(name), flush=True)
        try:
            call()
            outcome = ["nothing", ""]
        except Exception as error:
            outcome = [type(error).__name__, str(error)]
        print(json.dumps(outcome), flush=True)
