"""Calls of pydensecrf, small enough to keep what it answered: `pydensecrf_results.json`.

`python tests/compat/pydensecrf_cases.py` asks an installed pydensecrf again. Pictures have a
multiple of four pixels: pydensecrf adds points at the origin of feature space up to that, which
leave their vertices in its lattice.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("pydensecrf_results.json")
WIDTH, HEIGHT, LABELS = 4, 3, 3
SIZE = WIDTH * HEIGHT

Answer = list[np.ndarray]
Call = Callable[[ModuleType], Answer]


def energies(labels: int = LABELS, size: int = SIZE) -> np.ndarray:
    label, place = np.ogrid[:labels, :size]
    return ((13 * label + 7 * place * place + 5 * label * place) % 23 / 8).astype(np.float32)


def picture() -> np.ndarray:
    y, x, channel = np.ogrid[:HEIGHT, :WIDTH, :3]
    return ((17 * x * x + 31 * y + 40 * channel + 9 * x * y) % 256).astype(np.uint8)


def features(dims: int) -> np.ndarray:
    axis, place = np.ogrid[:dims, :SIZE]
    return ((7 * axis + 11 * place + 3 * axis * place) % 19 / 5).astype(np.float32)


MATRIX = np.array([[-2, 1, 0.5], [2, -3, 0.25], [0, 1.25, -1]], np.float32)
COMPATS = {"potts": 3, "negative": -1.5, "vector": MATRIX.diagonal().copy(), "matrix": MATRIX}
NORMALIZATIONS = range(4)


def marginals(crf: Any, steps: int = 3) -> Answer:
    """By `inference`, by steps, and their divergences."""
    q, tmp1, tmp2 = crf.startInference()
    found = [np.array(q)]
    divergences = [crf.klDivergence(q)]
    for _ in range(steps):
        crf.stepInference(q, tmp1, tmp2)
        divergences.append(crf.klDivergence(q))
    return [*found, np.array(q), np.array(crf.inference(steps)), np.array(divergences)]


def bilateral(compat: Any, normalization: int) -> Call:
    def call(module: ModuleType) -> Answer:
        crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
        crf.setUnaryEnergy(energies())
        crf.addPairwiseBilateral((5, 3), (40, 30, 60), picture(), compat, 1, normalization)
        return marginals(crf)

    return call


def places_without_normalization(module: ModuleType) -> Answer:
    crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnaryEnergy(energies())
    crf.addPairwiseGaussian((2, 1.5), 0.7, normalization=module.NO_NORMALIZATION)
    return marginals(crf)


def any_features(dims: int) -> Call:
    def call(module: ModuleType) -> Answer:
        crf = module.DenseCRF(SIZE, LABELS)
        crf.setUnary(module.ConstUnary(energies()))
        crf.addPairwiseEnergy(features(dims), compat=2.0)
        return marginals(crf)

    return call


def logistic_and_two_kernels(module: ModuleType) -> Answer:
    crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnary(module.LogisticUnary(energies(LABELS, 5), energies(5, SIZE)))
    crf.addPairwiseBilateral(4, 50, picture(), 2, module.FULL_KERNEL)
    crf.addPairwiseEnergy(features(3), MATRIX, module.CONST_KERNEL, module.NORMALIZE_BEFORE)
    return marginals(crf)


def changed_on_the_way(module: ModuleType) -> Answer:
    crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.addPairwiseBilateral(4, 50, picture(), 2)
    found = [np.array(crf.inference(2))]
    crf.setUnaryEnergy(energies())
    found += marginals(crf)
    crf.setUnaryEnergy(energies()[::-1].copy())
    return found + marginals(crf, 1)


CASES: dict[str, Call] = {
    **{
        f"bilateral, {name}, normalization {how}": bilateral(compat, how)
        for name, compat in COMPATS.items()
        for how in NORMALIZATIONS
    },
    **{f"{dims} features": any_features(dims) for dims in (1, 2, 4, 8)},
    "places, not normalised": places_without_normalization,
    "logistic, two kernels": logistic_and_two_kernels,
    "changed on the way": changed_on_the_way,
}


def stored() -> dict[str, Answer]:
    return {
        name: [np.array(part) for part in answer]
        for name, answer in json.loads(FILE.read_text()).items()
    }


if __name__ == "__main__":
    from pydensecrf import densecrf

    answers = {
        name: [np.round(part.astype(float), 6).tolist() for part in call(densecrf)]
        for name, call in CASES.items()
    }
    FILE.write_text(
        "{\n"
        + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in answers.items())
        + "\n}\n"
    )
