"""What watches a run: the best checkpoint, and whether a generator repeats itself."""

import json
import signal
from functools import partial

import pytest
import torch
from systems import Normalised, Settings, Toy
from torch import nn
from torch.optim import SGD

from pyfast import zoo
from pyfast.train import (
    EMA,
    Callback,
    CollapseAlarm,
    KeepBest,
    Log,
    RunPage,
    Trainer,
    Update,
    read_log,
    train,
)


class Measured(Callback):
    """Gives a number in every step that has one."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def measures(self, trainer):
        return ("test/score", "test/scorn")  # the second never comes

    def on_step(self, trainer):
        number = self.numbers[trainer.step - 1]
        if number is not None:
            trainer.metrics["test/score"] = number


SCORES = (None, 0.5, float("nan"), 0.9, 0.9, 0.2)


@pytest.mark.parametrize(("mode", "best", "step"), [("max", 0.9, 4), ("min", 0.2, 6)])
def test_the_best_step_is_kept(tmp_path, mode, best, step):
    keep = KeepBest("test/score", mode)
    Trainer(Normalised(), tmp_path, callbacks=(Measured(*SCORES), keep)).fit()
    assert keep.value == best
    kept = torch.load(tmp_path / "best.pt")
    assert kept["step"] == step
    assert kept["callbacks"]["KeepBest"]["value"] == best
    assert torch.load(tmp_path / "last.pt")["step"] == 6
    shorter = Normalised(Settings(steps=step))
    Trainer(shorter, tmp_path / "shorter").fit()
    for name, value in shorter.state_dict().items():
        assert torch.equal(value, kept["weights"][name]), name


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer):
        if trainer.step == self.step:
            raise Stop


@pytest.mark.parametrize("stop", [3, 5])
def test_a_resumed_run_keeps_the_same_best(tmp_path, stop):
    def fit(out, *more, resume=False):
        watching = (EMA(0.5), Measured(*SCORES), KeepBest("test/score"), *more)
        Trainer(Normalised(), out, callbacks=watching, save_every=2).fit(resume)

    fit(tmp_path / "whole")
    with pytest.raises(Stop):
        fit(tmp_path / "cut", StopAt(stop))
    fit(tmp_path / "cut", resume=True)
    for name in ("best.pt", "last.pt"):
        one, other = (torch.load(tmp_path / run / name) for run in ("whole", "cut"))
        assert one["step"] == other["step"]
        assert one["callbacks"]["KeepBest"] == other["callbacks"]["KeepBest"]
        for key, value in one["weights"].items():
            assert torch.equal(value, other["weights"][key]), (name, key)
    with pytest.raises(ValueError, match="'min'"):
        watching = (EMA(0.5), Measured(*SCORES), KeepBest("test/score", "min"))
        Trainer(Normalised(), tmp_path / "cut", callbacks=watching).fit(resume=True)


def test_a_metric_that_is_never_measured_is_said(tmp_path):
    callbacks = (Measured(*SCORES), KeepBest("test/scorn"), Log(1))
    with pytest.warns(UserWarning, match=r"step 6: no best\.pt: test/scorn was never measured"):
        Trainer(Normalised(), tmp_path, callbacks=callbacks).fit()
    assert "but test/score" in read_log(tmp_path)[-1]["warning"]
    with pytest.raises(ValueError, match="max or min"):
        KeepBest("test/score", "most")
    with pytest.raises(ValueError, match="evaluate_every: expected steps"):
        train(Normalised(), tmp_path / "other", watch="test/error")


def test_a_metric_that_there_is_not_is_refused_before_training(tmp_path):
    def refused(metric, said):
        with pytest.raises(ValueError, match=said):
            train(Watching(), tmp_path, watch=metric, evaluate_every=2, tensorboard=False)
        assert Watching.steps == 0
        assert not (tmp_path / "last.pt").exists()

    class Watching(Normalised):
        steps = 0

        def loss(self, batch):
            Watching.steps += self.training
            return super().loss(batch)

        def callbacks(self):
            return [CollapseAlarm(lambda count: self.net(torch.randn(count, 3)), every=2)]

    there = "; there are diversity, test/error"
    refused("test/eror", rf"no metric is called 'test/eror': did you mean test/error\?{there}")
    refused("error", rf"did you mean test/error\?{there}")
    refused("loss", rf"'loss'{there}")
    for number, metric in enumerate(("diversity", "test/error")):
        out = tmp_path / str(number)
        train(Watching(), out, watch=metric, evaluate_every=2, tensorboard=False)
        plain = tmp_path / f"plain {number}"
        train(Watching(), plain, evaluate_every=2, tensorboard=False)
        assert read_log(out) == read_log(plain)  # to look before changes no bit


def test_a_model_is_read_from_the_best_checkpoint(tmp_path):
    pytest.importorskip("sklearn")
    small = {"size": 40, "crop": 16, "width": 4, "batch_size": 8}
    system = zoo.create_model("stn_cnn.tiny", steps=4, **small)
    watching = (EMA(0.5), Measured(0.1, 0.3, 0.2, 0.1), KeepBest("test/score"))
    Trainer(system, tmp_path, callbacks=watching).fit()
    best, last = (zoo.from_pretrained(tmp_path / f"{name}.pt") for name in ("best", "last"))
    assert best.config == system.config
    assert not best.training
    for model, name in ((best, "best"), (last, "last"), (zoo.from_pretrained(tmp_path), "last")):
        averages = torch.load(tmp_path / f"{name}.pt")["callbacks"]["EMA"]["weights"]
        for key, value in model.state_dict().items():
            assert torch.equal(value, averages[key]), (name, key)
    assert not torch.equal(best.network.classifier[0].weight, last.network.classifier[0].weight)
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt is no checkpoint of a run"):
        zoo.from_pretrained(tmp_path / "other.pt")


def test_a_checkpoint_says_where_its_weights_came_from(tmp_path):
    pytest.importorskip("sklearn")
    small = {"size": 40, "crop": 16, "width": 4, "batch_size": 8}
    system = zoo.create_model("stn_cnn.tiny", steps=1, **small)
    system.origin = {"licence": "MIT"}
    Trainer(system, tmp_path).fit()
    assert zoo.from_pretrained(tmp_path / "last.pt").origin == system.origin
    new = zoo.create_model("stn_cnn.tiny", steps=2, **small)
    Trainer(new, tmp_path).fit(resume=True)
    assert new.origin == system.origin


def test_a_run_that_is_made_longer_gives_its_newest_weights(tmp_path):
    pytest.importorskip("sklearn")
    small = {"size": 40, "crop": 16, "width": 4, "batch_size": 8}

    def steps(count, stop=False, **how):
        system = zoo.create_model("stn_cnn.tiny", steps=count, **small)
        learn = system.loss
        system.loss = lambda batch: (stop and signal.raise_signal(signal.SIGINT), learn(batch))[1]
        few = torch.utils.data.Subset(system.dataset(), range(16))
        train(system, tmp_path, data=few, test_data=few, tensorboard=False, **how)

    def weights():
        found = zoo.from_pretrained(tmp_path).state_dict()
        saved = torch.load(tmp_path / "last.pt")["weights"]
        assert all(torch.equal(value, saved[name]) for name, value in found.items())
        return found["network.classifier.0.weight"]

    steps(1)
    first = weights()
    with pytest.raises(KeyboardInterrupt):
        steps(3, stop=True, resume=True)
    assert not torch.equal(first, weights())


REAL = torch.randn(200, 3, generator=torch.Generator().manual_seed(5))


class Generator(Toy):
    """Has learned the data; what it is then asked for makes it collapse, or keeps it as it is."""

    collapses = False
    settings = Settings(steps=60)

    def build(self):
        self.net = nn.Linear(3, 3)
        with torch.no_grad():
            self.net.weight.copy_(torch.eye(3))

    def sample(self, count):
        return self.net(torch.randn(count, 3))

    def loss(self, batch):
        found = self.net(batch[0])
        wanted = torch.ones(3) if self.collapses else batch[0]
        return (found - wanted).square().mean()

    def updates(self):
        return [Update("net", self.net, self.loss, partial(SGD, lr=0.05))]


class Collapsing(Generator):
    collapses = True


def watched(system, out, real=REAL, resume=False):
    alarm = CollapseAlarm(system.sample, real, every=5)
    Trainer(system, out, callbacks=(alarm, Log(5), RunPage()), save_every=30).fit(resume)
    return read_log(out)


@pytest.mark.parametrize("real", [REAL, None], ids=["against data", "against its best"])
def test_a_collapse_is_said_once(tmp_path, real):
    with pytest.warns(UserWarning, match="the generator repeats itself") as caught:
        lines = watched(Collapsing(), tmp_path, real)
    assert len(caught) == 1
    diversity = [line["diversity"] for line in lines]
    assert diversity == sorted(diversity, reverse=True)
    (said,) = [line for line in lines if "warning" in line]
    before = diversity[lines.index(said) - 1]
    assert said["diversity"] < 0.3 <= before
    assert ("real data" if real is not None else "at its best") in said["warning"]
    assert f"Step {said['step']}: the generator repeats" in (tmp_path / "index.html").read_text()
    with (tmp_path / "log.csv").open() as file:
        assert "warning" in file.readline()


@pytest.mark.parametrize("real", [REAL, None], ids=["against data", "against its best"])
def test_a_generator_that_does_not_collapse_is_left_alone(tmp_path, recwarn, real):
    lines = watched(Generator(), tmp_path, real)
    assert all(0.7 < line["diversity"] < 1.4 for line in lines)
    assert not any("warning" in line for line in lines)
    assert not [w for w in recwarn if "repeats" in str(w.message)]
    assert "Warnings" not in (tmp_path / "index.html").read_text()


def test_a_collapse_into_several_places_is_seen(tmp_path):
    class Places(Generator):
        def sample(self, count):
            return REAL[torch.arange(count) % 4] + 0.01 * torch.randn(count, 3)

    with pytest.warns(UserWarning, match="repeats itself"):
        lines = watched(Places(), tmp_path)
    assert torch.pdist(Places().sample(64)).mean() > 0.8 * torch.pdist(REAL[:64]).mean()
    assert lines[0]["diversity"] < 0.05


@pytest.mark.filterwarnings("ignore:step")
def test_a_resumed_run_has_the_same_alarms(tmp_path):
    whole = watched(Collapsing(), tmp_path / "whole", None)
    with pytest.raises(Stop):
        alarm = CollapseAlarm((system := Collapsing()).sample, None, every=5)
        callbacks = (alarm, Log(5), RunPage(), StopAt(47))
        Trainer(system, tmp_path / "cut", callbacks=callbacks, save_every=30).fit()
    resumed = watched(Collapsing(), tmp_path / "cut", None, resume=True)
    assert json.dumps(whole) == json.dumps(resumed)


def test_samples_that_cannot_be_compared(tmp_path):
    with pytest.raises(ValueError, match="samples that differ"):
        CollapseAlarm(Generator().sample, torch.ones(8, 3))
    with pytest.raises(ValueError, match=r"the shape of real ones, \(4,\), got \(3,\)"):
        watched(Generator(), tmp_path, torch.rand(8, 4))
    with pytest.raises(ValueError, match="two or more"):
        CollapseAlarm(Generator().sample, torch.ones(1, 3))
