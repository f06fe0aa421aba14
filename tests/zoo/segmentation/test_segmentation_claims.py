"""What systems for segmentation promise."""

import pytest

from pyfast import zoo


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", zoo.list_models(task="segmentation"))
def test_claims_of_segmentation_hold(name, fast):
    for verdict in zoo.verify(name, fast=fast):
        assert verdict.passed, (verdict.claim.text, verdict.runs)
