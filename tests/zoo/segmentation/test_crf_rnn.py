"""A CRF that is trained with its network."""

import pytest
import torch

from pyfast import zoo
from pyfast.nn import DenseCRF
from pyfast.train import Trainer


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_marginals_are_those_of_the_network_and_the_crf():
    model = zoo.create_model("crf_rnn.tiny", dtype=torch.float64).eval()
    image = torch.rand(2, 3, 24, 28, dtype=torch.float64)
    inputs = model.preprocess(image)
    scores = model.network.scores(inputs)
    expected = model.crf(-scores, image * 255)
    torch.testing.assert_close(model(inputs), expected)
    torch.testing.assert_close(model.probabilities(image), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.probabilities(image, crf=False), scores.softmax(1))


def test_the_crf_learns_from_the_loss():
    model = zoo.create_model("crf_rnn.tiny").train()
    before = {name: p.detach().clone() for name, p in model.crf.named_parameters()}
    (update,) = model.updates()
    optimizer = update.make_optimizer(model.named_parameters())
    batch = torch.rand(2, 3, 24, 24), torch.randint(0, 4, (2, 24, 24))
    model.loss(batch).backward()
    optimizer.step()
    assert set(before) == {"weights", "log_sigmas", "compatibility"}
    assert all(not torch.equal(before[n], p) for n, p in model.crf.named_parameters())


def test_iterations_of_training_and_use():
    model = zoo.create_model("crf_rnn.tiny", train_iterations=2, iterations=7)
    assert model.crf.iterations == 2
    assert model.eval().crf.iterations == 7
    assert model.train().crf.iterations == 2


def test_a_measurement_in_between_changes_no_mode(tmp_path):
    model = zoo.create_model("crf_rnn.tiny", train_iterations=2, iterations=7)
    model.segment(torch.rand(1, 3, 24, 24))
    assert model.crf.iterations == 2
    model.network.eval()
    model.segment(torch.rand(1, 3, 24, 24))
    assert (model.training, model.network.training) == (True, False)
    trainer = Trainer(model, tmp_path)
    with trainer.evaluating():
        assert model.crf.iterations == 7
    assert (model.crf.iterations, model.network.training) == (2, False)


def test_a_base_of_several_scales_and_a_crf_that_learns_nothing():
    model = zoo.create_model("crf_rnn.tiny", base="deeplabv2_resnet101.tiny", learn=())
    assert not list(model.crf.parameters())
    model.loss((torch.rand(2, 3, 33, 33), torch.zeros(2, 33, 33, dtype=torch.long))).backward()
    (update,) = model.updates()
    assert update.modules is model.network
    assert update.make_optimizer(model.named_parameters())
    assert model.segment(torch.rand(1, 3, 33, 40)).shape == (1, 33, 40)


def test_backends_of_the_crf():
    image = torch.rand(1, 3, 9, 11, dtype=torch.float64) * 255
    unary = torch.randn(1, 4, 9, 11, dtype=torch.float64)
    ours, plain = (DenseCRF(4, backend=backend).double() for backend in ("pyfast", "torch"))
    torch.testing.assert_close(ours(unary, image), plain(unary, image))
    with pytest.raises(ValueError, match="backend"):
        DenseCRF(4, backend="jax")


@pytest.mark.parametrize("base", ["crf_rnn.tiny", "stn_cnn.tiny", "vgg16"])
def test_a_base_that_gives_no_scores_of_labels(base):
    with pytest.raises(ValueError, match=f"base: expected .*, got '{base}'"):
        zoo.create_model("crf_rnn.tiny", base=base)
