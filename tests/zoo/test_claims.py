"""A claim passes only if it reaches its target and its baseline loses."""

import pytest

from pyfast import zoo
from pyfast.zoo.claims import Measured, claim


@pytest.mark.parametrize(
    ("higher", "value", "baseline", "passed"),
    [
        (True, 0.95, 0.80, True),
        (True, 0.85, 0.70, False),  # below the target
        (True, 0.95, 0.93, False),  # the baseline is too good
        (False, 0.02, 0.60, True),
        (False, 0.99, 1.50, False),
        (False, 0.50, 0.52, False),
        (True, float("nan"), 0.0, False),
        (True, 0.95, float("nan"), False),
    ],
)
def test_verdict(toy, higher, value, baseline, passed):
    @claim("toy", "is good", target=0.9, margin=0.05, seconds=1, higher=higher)
    def measure(seed):
        return Measured(value, baseline)

    (verdict,) = zoo.verify("toy")
    assert verdict.passed is passed
    assert len(verdict.runs) == 3
    assert zoo.info("toy").claims == ("is good",)


def test_seeds_are_run_and_averaged(toy):
    @claim("toy", "mean", target=1.0, margin=0.5, seconds=11, seeds=(0, 2))
    def measure(seed):
        return Measured(seed, 0.0)

    (verdict,) = zoo.verify("toy")
    assert verdict.passed
    assert [run.value for run in verdict.runs] == [0, 2]
    assert zoo.verify("toy*", fast=True) == []


def test_a_claim_needs_a_model_and_a_margin(toy):
    with pytest.raises(ValueError, match="margin"):
        claim("toy", "", target=1, margin=0, seconds=1)
    with pytest.raises(ValueError, match="did you mean"):
        claim("tyo", "", target=1, margin=1, seconds=1)
    with pytest.raises(ValueError, match="no model"):
        zoo.verify("nothing")
