"""The trainer against bare loops, and against itself when it is interrupted."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from systems import (
    FiveCriticSteps,
    Growing,
    InTurns,
    Normalised,
    Pixels,
    Regression,
    Replay,
    Settings,
    TwoPlayers,
    Watched,
)
from torch.optim import SGD
from torch.utils.data import Dataset

from pyfast.train import (
    EMA,
    Callback,
    Evaluate,
    Log,
    NaNGuard,
    Trainer,
    Update,
    read_log,
    schedules,
)
from pyfast.train.batches import Batches

ALL = (Regression, TwoPlayers, FiveCriticSteps, InTurns, Pixels, Normalised, Growing)


def fit(system, out, others=(), resume=False, **options):
    callbacks = (EMA(0.9), *system.callbacks(), Log(system.log_every), *others)
    Trainer(system, out, callbacks=callbacks, **options).fit(resume)
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
    wanted = torch.arange(12.0).view(4, 3) / 12 + 0.1 * trained.dataset().tensors[0].mean()
    torch.testing.assert_close(trained.picture.detach().float(), wanted)


def test_a_growing_network_forgets_at_each_stage(tmp_path):
    system = Growing()
    trainer = Trainer(system, tmp_path, callbacks=system.callbacks())
    trainer.fit()
    assert system.stages == [0, 0, 1, 1, 2, 2]
    assert not trainer.optimizers["layers"].state


@pytest.mark.parametrize("system", ALL)
def test_a_resumed_run_has_the_same_bits(system, tmp_path):
    whole = fit(system(), tmp_path / "whole")

    class Stop(Exception):
        pass

    class StopAt(Callback):
        def on_step(self, trainer):
            if trainer.step == 5:
                raise Stop

    with pytest.raises(Stop):
        fit(system(), tmp_path / "cut", (StopAt(),), save_every=2)
    resumed = fit(system(), tmp_path / "cut", resume=True)
    assert_equal(whole, resumed)
    one, other = (torch.load(tmp_path / run / "last.pt") for run in ("whole", "cut"))
    for name, value in one["callbacks"]["EMA"]["weights"].items():
        assert torch.equal(value, other["callbacks"]["EMA"]["weights"][name]), name
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "cut")
    assert (tmp_path / "cut" / "log.csv").exists()


def test_other_settings_are_refused(tmp_path):
    fit(Regression(), tmp_path)
    with pytest.raises(ValueError, match="batch_size was 4 and is 2"):
        fit(Regression(Settings(batch_size=2)), tmp_path, resume=True)
    with pytest.raises(FileExistsError, match="has a run"):
        fit(Regression(), tmp_path)


def test_a_batch_larger_than_the_data_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="batch_size: expected 1 to 18"):
        fit(Regression(Settings(batch_size=19)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_that_leads_to_nan_is_kept(tmp_path):
    class Broken(Regression):
        def loss(self, batch):
            return super().loss(batch) * float("nan")

    with pytest.raises(FloatingPointError, match="step 1: net is not finite"):
        Trainer(Broken(), tmp_path, callbacks=[NaNGuard()]).fit()
    assert torch.load(tmp_path / "nan_batch.pt")[0].shape == (4, 3)


def test_an_error_after_the_last_step_costs_that_step_alone(tmp_path):
    class Bad(Evaluate):
        def on_step(self, trainer):
            super().on_step(trainer)
            if trainer.finished:
                raise RuntimeError("bad test data")

    whole = fit(Normalised(), tmp_path / "whole", [Evaluate()])
    with pytest.raises(RuntimeError, match="bad test data"):
        fit(Normalised(), tmp_path / "cut", [Bad()])
    assert torch.load(tmp_path / "cut" / "last.pt")["step"] == 5
    assert_equal(whole, fit(Normalised(), tmp_path / "cut", [Evaluate()], resume=True))
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "cut")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_run_that_goes_on(number, tmp_path):
    class Interrupt(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)  # as a launcher that hands it on

    whole = fit(Regression(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(), tmp_path / "cut", [Interrupt()])
    assert torch.load(tmp_path / "cut" / "last.pt")["step"] == 3
    assert_equal(whole, fit(Regression(), tmp_path / "cut", resume=True))


def test_a_trainer_that_was_stopped_goes_on_itself(tmp_path):
    class Once(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                signal.raise_signal(signal.SIGINT)

    whole = fit(Regression(), tmp_path / "whole")
    trainer = Trainer(Regression(), tmp_path / "cut", callbacks=[Once(), EMA(0.9)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    trainer.fit(resume=True)
    assert trainer.finished
    assert_equal(whole, trainer.system)


class TellsAllToStop(Dataset):
    """Slow data; at the first sample the processes get a signal as from a terminal or a cluster."""

    def __init__(self, number):
        self.number, self.told = number, False

    def __len__(self):
        return 18

    def __getitem__(self, index):
        if not self.told:
            self.told = True
            time.sleep(0.5)  # the training process waits for this batch
            os.kill(os.getppid(), self.number)
            os.kill(os.getpid(), self.number)
        return [torch.ones(3)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_processes_that_read_data(number, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(), tmp_path, data=TellsAllToStop(number), workers=1)
    assert torch.load(tmp_path / "last.pt")["step"] == 1


def test_a_finished_run_can_be_made_longer(tmp_path):
    whole = fit(Regression(Settings(steps=9)), tmp_path / "whole")
    fit(Regression(Settings(steps=6)), tmp_path / "cut")
    assert_equal(whole, fit(Regression(Settings(steps=9)), tmp_path / "cut", resume=True))
    with pytest.raises(ValueError, match="has done 9 steps already, and steps is 6"):
        fit(Regression(Settings(steps=6)), tmp_path / "cut", resume=True)


def test_a_schedule_that_ends_with_the_run_ends_later(tmp_path):
    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_step(self, trainer):
            self.seen.append(trainer.optimizers["net"].param_groups[0]["lr"])

    class Poly(Regression):
        def updates(self):
            schedule = schedules.poly(self.config.steps, power=1)
            return [Update("net", self.net, self.loss, partial(SGD, lr=1.0), schedule=schedule)]

    fit(Poly(Settings(steps=4)), tmp_path)
    rates = Rates()
    fit(Poly(Settings(steps=8)), tmp_path, [rates], resume=True)
    assert rates.seen == pytest.approx([3 / 8, 2 / 8, 1 / 8, 0])  # after steps 5 to 8


@pytest.mark.parametrize("name", ["save_every", "workers"])
def test_negative_counts_are_named_before_anything_is_written(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name}: expected no negative number, got -1"):
        Trainer(Regression(), tmp_path / "run", **{name: -1}).fit()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("device", "match"), [("cpu:0", "no number"), ("abacus", "one of cpu")])
def test_devices_that_cannot_be(device, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        Trainer(Regression(), tmp_path, device=device, devices=2)


@pytest.mark.parametrize(
    ("updates", "match"),
    [
        ((), "expected names that differ, got none"),
        (("net", "net"), "got net, net"),
        (("other",), "update other: expected networks that belong to the system"),
    ],
)
def test_updates_that_cannot_be(updates, match, tmp_path):
    class Wrong(Regression):
        def updates(self):
            networks = {"net": self.net, "other": torch.nn.Linear(1, 1)}
            return [Update(name, networks[name], self.loss, partial(SGD, lr=1)) for name in updates]

    with pytest.raises(ValueError, match=match):
        fit(Wrong(), tmp_path)


def test_what_a_checkpoint_must_be(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint to go on from"):
        fit(Regression(), tmp_path, resume=True)
    fit(Regression(), tmp_path)
    file = tmp_path / "last.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.pt is damaged"):
        fit(Regression(), tmp_path, resume=True)
    file.write_bytes(b"hello world")
    with pytest.raises(ValueError, match=r"last\.pt is damaged"):
        fit(Regression(), tmp_path, resume=True)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="it ends too early"):
        fit(Regression(), tmp_path, resume=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_foreign_code_is_refused_by_name(zipped, tmp_path, recwarn):
    content, file = {"step": Path("anywhere")}, tmp_path / "last.pt"
    if zipped:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"last\.pt wants pathlib\S+ to be imported"):
        fit(Regression(), tmp_path, resume=True)
    assert not [one for one in recwarn if "pickle" in str(one.message)]


def test_another_model_is_all_that_is_said_of_its_settings(tmp_path):
    fit(Regression(), tmp_path)
    with pytest.raises(ValueError, match=r"model was 'Regression' and is 'Pixels'$"):
        fit(Pixels(), tmp_path, resume=True)


@pytest.mark.parametrize("error", [OSError(28, "full disk"), RuntimeError("unexpected pos 704")])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, error):
    write = torch.save

    def full(checkpoint, file):
        if checkpoint["step"] == 4:
            file.write_bytes(b"half")
            raise error
        write(checkpoint, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="full disk"):
        fit(Regression(), tmp_path, save_every=2)
    assert torch.load(tmp_path / "last.pt")["step"] == 2
    assert not list(tmp_path.glob(".*"))


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True
    )


WORKER = Path(__file__).with_name("worker.py")
THREE = (Normalised, Replay, Pixels)
NAMES = [system.__name__ for system in THREE]


def test_a_kill_during_a_save_loses_only_steps(tmp_path):
    done = run(WORKER, tmp_path, *NAMES, "--killed-in-save", 4)
    assert done.returncode == 0, done.stderr
    for system in THREE:
        cut = tmp_path / system.__name__
        assert torch.load(cut / "last.pt")["step"] == 2
        assert len(list(cut.glob(".last.pt.*.part"))) == 1
        whole = fit(system(), tmp_path / "whole" / system.__name__)
        assert_equal(whole, fit(system(), cut, resume=True))
        assert not list(cut.glob(".*"))


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)


@pytest.mark.slow
@pytest.mark.parametrize("system", THREE)
def test_two_processes_lose_only_steps_when_one_is_killed_in_a_save(system, tmp_path):
    worker, cut = (WORKER, tmp_path, system.__name__), tmp_path / system.__name__
    assert "SIGKILL" in run(*TWO, *worker, "--killed-in-save", 4).stderr
    assert torch.load(cut / "last.pt")["step"] == 2
    assert len(list(cut.glob(".last.pt.*.part"))) == 1
    done = run(*TWO, *worker)
    assert done.returncode == 0, done.stderr
    saved = torch.load(cut / "last.pt")
    assert saved["step"] == 6
    for name, value in fit(system(), tmp_path / "one").state_dict().items():
        torch.testing.assert_close(value, saved["weights"][name], atol=1e-6, rtol=0, msg=name)
    assert not list(cut.glob(".*"))


def test_two_processes_equal_one_and_stop_together(tmp_path):
    systems = (*THREE, Regression, Growing, Watched)
    names = [system.__name__ for system in systems]
    done = run(*TWO, WORKER, tmp_path, *names, "NaNInOneProcess")
    assert done.returncode == 0, done.stderr
    for system in systems:
        one = fit(system(), tmp_path / "one" / system.__name__)
        two = torch.load(tmp_path / system.__name__ / "last.pt")["weights"]
        for name, value in one.state_dict().items():
            torch.testing.assert_close(
                value, two[name], atol=1e-6, rtol=0, msg=f"{system.__name__}.{name}"
            )
        logs = (read_log(tmp_path / part / system.__name__) for part in ("one", ""))
        for line, other in zip(*logs, strict=True):
            assert line == pytest.approx(other, rel=1e-3)
    best = [torch.load(tmp_path / part / "Watched" / "best.pt") for part in ("one", "")]
    assert best[0]["step"] == best[1]["step"]
    stopped = tmp_path / "NaNInOneProcess"
    assert (stopped / "error0").read_text() == "step 1: another process has a NaN"
    assert "net is not finite" in (stopped / "error1").read_text()
    assert (stopped / "nan_batch1.pt").exists()
    assert not (stopped / "last.pt").exists()
    assert "destroy_process_group" not in done.stderr  # PyTorch's reminder
