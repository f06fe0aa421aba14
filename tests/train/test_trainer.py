"""The trainer against bare loops, and against itself when it is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from systems import FiveCriticSteps, InTurns, Pixels, Regression, Settings, TwoPlayers

from pyfast.train import EMA, Log, NaNGuard, Trainer, read_log
from pyfast.train.batches import Batches

ALL = (Regression, TwoPlayers, FiveCriticSteps, InTurns, Pixels)


def fit(system, out, resume=False, **options):
    Trainer(system, out, callbacks=(Log(1), EMA(0.9)), **options).fit(resume)
    return system


def assert_equal(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_regression_equals_a_bare_loop(tmp_path):
    trained = fit(Regression(), tmp_path)
    bare = Regression()
    (update,) = bare.updates()
    optimizer = update.optimizer(bare.net.parameters())
    schedule = update.schedule(optimizer)
    data = bare.dataset().tensors[0]
    batches = iter(Batches(len(data), 4, seed=0))
    for _ in range(6):
        optimizer.zero_grad()
        for _ in range(2):
            (bare.loss([data[next(batches)]]) / 2).backward()
        torch.nn.utils.clip_grad_norm_(bare.net.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    assert_equal(trained, bare)


def test_a_critic_is_trained_five_times(tmp_path):
    trained = fit(FiveCriticSteps(Settings(steps=2)), tmp_path)
    assert trained.order == (["critic"] * 5 + ["generator"]) * 2
    assert max(w.abs().max() for w in trained.critic.parameters()) <= 0.1


def test_players_take_turns(tmp_path):
    trained = fit(InTurns(), tmp_path)
    assert trained.order == ["critic", "generator", "generator"] * 2
    assert [set(line) - {"step"} for line in read_log(tmp_path)[:2]] == [
        {"critic"},
        {"generator", "distance"},
    ]


def test_lbfgs_finds_the_picture(tmp_path):
    trained = fit(Pixels(), tmp_path)
    torch.testing.assert_close(trained.picture().detach(), torch.arange(12.0).view(4, 3))


@pytest.mark.parametrize("system", ALL)
def test_a_resumed_run_has_the_same_bits(system, tmp_path):
    whole = fit(system(), tmp_path / "whole")

    class Stop(Exception):
        pass

    class StopAt(Log):
        def on_step(self, trainer):
            super().on_step(trainer)
            if trainer.step == 5:
                raise Stop

    StopAt.__name__ = "Log"
    stopped = Trainer(system(), tmp_path / "cut", callbacks=(StopAt(1), EMA(0.9)), save_every=2)
    with pytest.raises(Stop):
        stopped.fit()
    resumed = fit(system(), tmp_path / "cut", resume=True)
    assert_equal(whole, resumed)
    one, other = (torch.load(tmp_path / run / "last.pt") for run in ("whole", "cut"))
    for name, value in one["callbacks"][1]["weights"].items():
        assert torch.equal(value, other["callbacks"][1]["weights"][name]), name
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "cut")
    assert (tmp_path / "cut" / "log.csv").exists()


def test_other_settings_are_refused(tmp_path):
    fit(Regression(), tmp_path)
    with pytest.raises(ValueError, match="batch_size was 4 and is 2"):
        fit(Regression(Settings(batch_size=2)), tmp_path, resume=True)
    with pytest.raises(FileExistsError, match="has a run"):
        fit(Regression(), tmp_path)


def test_a_batch_that_leads_to_nan_is_kept(tmp_path):
    class Broken(Regression):
        def loss(self, batch):
            return super().loss(batch) * float("nan")

    with pytest.raises(FloatingPointError, match="step 1: net is not finite"):
        Trainer(Broken(), tmp_path, callbacks=[NaNGuard()]).fit()
    assert torch.load(tmp_path / "nan_batch.pt")[0].shape == (4, 3)


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path):
    class Interrupt(Log):
        def on_step(self, trainer):
            if trainer.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    whole = fit(Regression(), tmp_path / "whole")
    Interrupt.__name__ = "Log"
    with pytest.raises(KeyboardInterrupt):
        Trainer(Regression(), tmp_path / "cut", callbacks=(Interrupt(), EMA(0.9))).fit()
    assert torch.load(tmp_path / "cut" / "last.pt")["step"] == 3
    assert_equal(whole, fit(Regression(), tmp_path / "cut", resume=True))


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True
    )


WORKER = Path(__file__).with_name("worker.py")


def test_a_kill_during_a_save_loses_only_steps(tmp_path):
    done = run(WORKER, "TwoPlayers", tmp_path / "cut", "--killed-in-save", 4)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(tmp_path / "cut" / "last.pt")["step"] == 2
    whole = fit(TwoPlayers(), tmp_path / "whole")
    assert_equal(whole, fit(TwoPlayers(), tmp_path / "cut", resume=True))


@pytest.mark.parametrize("system", [Regression, InTurns], ids=lambda system: system.__name__)
def test_two_processes_equal_one(system, tmp_path):
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    done = run(*launch, WORKER, "Quiet" + system.__name__, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    import worker

    one = fit(getattr(worker, "Quiet" + system.__name__)(), tmp_path / "one")
    two = torch.load(tmp_path / "two" / "last.pt")["weights"]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two[name], atol=1e-6, rtol=0)
