"""What systems for segmentation promise, as far as it takes seconds."""

import pytest

from pyfast import zoo


@pytest.mark.parametrize("name", zoo.list_models(task="segmentation"))
def test_fast_claims_of_segmentation_hold(name):
    for verdict in zoo.verify(name, fast=True):
        assert verdict.passed, (verdict.claim.text, verdict.runs)
