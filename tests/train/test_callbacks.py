"""What a run leaves behind beside its weights."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from systems import Normalised, Regression, Settings

from pyfast.train import (
    EMA,
    Callback,
    Log,
    NaNGuard,
    Progress,
    RunPage,
    Trainer,
    evaluate,
    grid,
    read_log,
    train,
    write_page,
)


class Averaged(Normalised):
    def callbacks(self):
        return [EMA(0.5)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with everything, stopped in between, in the folder that it left."""
    out = tmp_path_factory.mktemp("run")
    for steps in (4, 6):
        system = Averaged(Settings(steps=steps))
        train(
            system,
            out,
            resume=steps == 6,
            seed=5,
            log_every=2,
            samples_every=2,
            evaluate_every=3,
            save_every=2,
        )
    return out, system


def test_the_log_and_the_table_say_the_same(finished):
    out, _ = finished
    lines = read_log(out)
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert [line["step"] for line in lines if "test/error" in line] == [3, 4, 6]
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{k: float(v) for k, v in row.items() if v} for row in rows] == lines


def test_samples_are_grids_with_the_same_noise(finished):
    out, _ = finished
    files = sorted((out / "samples").iterdir())
    assert [file.name for file in files] == [f"0000000{step}_noise.png" for step in (2, 4, 6)]
    first, *others = (np.array(Image.open(file)) for file in files)
    assert first.shape == (6, 5 * 8 - 2)
    assert all((first == other).all() for other in others)


def test_the_page_opens_from_disk(finished):
    out, _ = finished
    text = (out / "index.html").read_text()
    for part in ("test/error", 'src="samples/00000006_noise.png"', "<polyline", "batch_size"):
        assert part in text, part
    assert "http" not in text
    assert write_page(out).read_text() == text
    with pytest.raises(FileNotFoundError, match="holds no run"):
        write_page(out / "samples")


def test_what_cannot_be_trained_or_measured_is_said_before(tmp_path):
    with pytest.raises(TypeError, match="expected a System, got Linear"):
        train(torch.nn.Linear(1, 1), tmp_path)
    with pytest.raises(ValueError, match="test_data: expected samples"):
        train(Normalised(), tmp_path, test_data=torch.utils.data.TensorDataset(torch.zeros(0, 3)))
    assert not list(tmp_path.iterdir())


class Undefined(Callback):
    def on_step(self, trainer):
        trainer.metrics |= {"late": (math.nan, 1.0, math.inf, 3.0, 2.0, 2.0)[trainer.step - 1]}


def test_the_log_is_json_where_there_is_no_number(tmp_path):
    def never(constant):
        raise AssertionError(f"{constant} is not of JSON")

    for resume in (False, True):  # which writes the lines anew
        Trainer(Normalised(), tmp_path, callbacks=[Undefined(), Log(1)]).fit(resume)
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        lates = [json.loads(line, parse_constant=never)["late"] for line in lines]
        assert lates == [None, 1, None, 3, 2, 2]
        late = read_log(tmp_path)[0]["late"]
        assert math.isnan(late)


def test_a_curve_leaves_out_what_is_no_number(tmp_path):
    Trainer(Normalised(), tmp_path, callbacks=[Undefined(), Log(1), RunPage()]).fit()
    text = (tmp_path / "index.html").read_text()
    for extreme in ("1", "3"):
        assert f">{extreme}</text>" in text


def test_settings_and_machine_are_written_down(finished):
    out, _ = finished
    config = json.loads((out / "config.json").read_text())
    assert (config["model"], config["seed"], config["config"]["steps"]) == ("Averaged", 5, 6)
    assert json.loads((out / "environment.json").read_text())["torch"]["version"]


def test_tensorboard_has_the_numbers_and_the_pictures(finished):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(finished[0] / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("test/error")] == [3, 4, 6]
    assert [event.step for event in events.Images("noise")] == [2, 4, 6]


def test_measurements_have_the_averaged_weights(finished):
    out, system = finished
    weights = torch.load(out / "last.pt")["callbacks"]["EMA"]["weights"]
    averaged = Averaged()
    averaged.load_state_dict(weights)
    assert not torch.equal(averaged.net[0].weight, system.net[0].weight)
    assert evaluate(averaged)["error"] == pytest.approx(read_log(out)[-1]["test/error"])
    assert averaged.training


def test_a_callback_s_state_belongs_to_the_run(finished, tmp_path):
    with pytest.raises(ValueError, match=r"callbacks was \['EMA'\] and is \[\]"):
        Trainer(Averaged(), finished[0], seed=5).fit(resume=True)
    with pytest.raises(ValueError, match="one of each class"):
        Trainer(Averaged(), tmp_path, callbacks=(EMA(0.5), EMA(0.9))).fit()


def test_evaluating_leaves_modes_and_weights_as_they_were(tmp_path):
    class Look(Callback):
        def on_step(self, trainer):
            system, ema = trainer.system, trainer.callbacks[0]
            before = system.state_dict()["net.0.weight"].clone()
            with trainer.evaluating():
                assert not system.net.training
                assert torch.equal(system.state_dict()["net.0.weight"], ema.weights["net.0.weight"])
            assert system.net.training
            assert torch.equal(system.state_dict()["net.0.weight"], before)

    Trainer(Normalised(), tmp_path, callbacks=(EMA(0.5), Look())).fit()


def test_no_checkpoint_has_weights_that_are_no_numbers(tmp_path):
    class Spoilt(Regression):
        def updates(self):
            (update,) = super().updates()
            return [type(update)(update.name, update.modules, update.loss, update.optimizer)]

    class Spoil(Callback):
        def on_step(self, trainer):
            if trainer.step == 4:
                trainer.system.net[0].weight.data[0] = float("inf")

    with pytest.raises(FloatingPointError, match=r"step 4: net\.0\.weight is not finite"):
        Trainer(Spoilt(), tmp_path, callbacks=(Spoil(), NaNGuard()), save_every=2).fit()
    assert torch.load(tmp_path / "last.pt")["step"] == 2


def test_the_bar_counts_steps_and_shows_losses(tmp_path, capsys):
    pytest.importorskip("tqdm")
    Trainer(Regression(), tmp_path, callbacks=[Progress()]).fit()
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "net=" in shown


def test_precision_rules_the_networks(tmp_path):
    class Dtypes(Regression):
        def loss(self, batch):
            hidden = []
            handle = self.net[0].register_forward_hook(lambda *args: hidden.append(args[2].dtype))
            loss = super().loss(batch)
            handle.remove()
            return loss, {"bits": hidden[0].itemsize * 8, "loss_bits": loss.dtype.itemsize * 8}

    system = Dtypes()
    trainer = Trainer(system, tmp_path, precision="bf16-mixed")
    trainer.fit()
    assert trainer.values["bits"] == 16
    assert trainer.values["loss_bits"] == 32
    assert "forward" not in vars(system.net)
    with pytest.raises(ValueError, match="precision was 'bf16-mixed' and is '32-true'"):
        Trainer(Dtypes(), tmp_path).fit(resume=True)


def test_a_grid_is_filled_row_by_row():
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 2) / 4
    joined = grid(images, columns=2, gap=1)
    assert joined.tolist() == [
        [
            [0.0, 0.0, 1.0, 0.25, 0.25],
            [0.0, 0.0, 1.0, 0.25, 0.25],
            [1.0, 1.0, 1.0, 1.0, 1.0],
            [0.5, 0.5, 1.0, 1.0, 1.0],
            [0.5, 0.5, 1.0, 1.0, 1.0],
        ]
    ]
