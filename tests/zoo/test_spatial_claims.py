"""What systems with spatial transformers promise."""

import pytest
import torch

pytest.importorskip("sklearn")

from pyfast import zoo
from pyfast.zoo.claims import trained


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", zoo.list_models("stn_*"))
def test_claims_hold(name, fast):
    for verdict in zoo.verify(name, fast=fast):
        assert verdict.passed, (verdict.claim.text, verdict.runs)


def test_a_training_is_shared_and_repeatable():
    pytest.importorskip("lightning_fabric")
    settings = {"steps": 2, "batch_size": 2, "width": 2}
    before = torch.random.get_rng_state()
    first = trained("stn_cnn.tiny", 1, **settings)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert trained("stn_cnn.tiny", 1, **settings) is first
    trained.cache_clear()
    again = trained("stn_cnn.tiny", 1, **settings)
    assert not again.training
    for key, value in again.state_dict().items():
        assert torch.equal(value, first.state_dict()[key]), key
    other = trained("stn_cnn.tiny", 2, **settings)
    assert not torch.equal(other.network.classifier[0].weight, first.network.classifier[0].weight)
