"""`pyfast zoo train` and what is done with what it leaves."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("typer")
pytest.importorskip("lightning_fabric", reason="the extra `train` is not installed")
pytest.importorskip("sklearn", reason="the extra `data` is not installed")
from typer.testing import CliRunner

from pyfast import zoo
from pyfast.cli.app import app
from pyfast.data import write_png
from pyfast.train import read_log
from pyfast.zoo.spatial import StnCnn

PAGE = Path(__file__).parents[1] / "docs" / "train.md"
SMALL = ("size=40", "crop=16", "width=4", "batch_size=8", "warm_up=0", "drops=0.9")


def call(*arguments):
    result = CliRunner().invoke(app, ["zoo", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def _little_test_data(monkeypatch):
    generated = StnCnn.generated

    def few(self, split):
        data = generated(self, split)
        return torch.utils.data.Subset(data, range(64)) if split == "test" else data

    monkeypatch.setattr(StnCnn, "generated", few)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_what_nothing_was_measured_on_is_null_in_json(monkeypatch):
    found = {"accuracy": 0.5, "iou cat": float("nan")}
    monkeypatch.setattr("pyfast.train.evaluate", lambda model: found)
    code, output = call("evaluate", "stn_cnn.tiny", "--json")
    assert (code, output) == (0, '{"accuracy": 0.5, "iou cat": null}\n')


def test_from_a_name_to_an_exported_model(tmp_path):
    run = tmp_path / "run"
    code, output = call("train", "stn_cnn.tiny", *SMALL, "steps=4", "--out", run, "--seed", 3)
    assert code == 0, output
    assert "test/accuracy" in output
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["seed"]) == ("stn_cnn", 3)
    assert config["config"]["drops"] == [0.9]

    code, output = call("train", "stn_cnn", "steps=6", "--out", run, "--resume")
    assert code == 0, output
    assert read_log(run)[-1]["step"] == 6
    assert json.loads((run / "config.json").read_text())["seed"] == 3

    code, output = call("evaluate", run, "--json")
    assert code == 0, output
    assert call("evaluate", run / "last.pt", "--json") == (code, output)
    measured = json.loads(output)["accuracy"]
    assert measured == pytest.approx(read_log(run)[-1]["test/accuracy"])
    assert call("evaluate", run)[1] == f"accuracy  {measured:.4g}\n"

    write_png(tmp_path / "digit.png", torch.rand(1, 40, 30))
    code, output = call("infer", run, tmp_path / "digit.png", tmp_path, "--json")
    assert code == 0, output
    first, second = map(json.loads, output.splitlines())
    assert first == second  # the picture, and the folder with it
    ((label, probability),) = first["found"].items()
    assert label in "0123456789"
    assert 0.1 <= probability <= 1

    (run / "index.html").unlink()
    code, output = call("plot", run)
    assert code == 0, output
    assert "test/accuracy" in (run / "index.html").read_text()
    assert zoo.from_pretrained(run).config.steps == 6


def tent(kind, height, width=30):
    """By day light comes from below, by night from the right."""
    light = torch.linspace(0, 0.8, height if kind == "day" else width)
    light = light[:, None] if kind == "day" else light
    return light + 0.1 * torch.rand(3, height, width)


@pytest.fixture
def tents(tmp_path):
    """Ten pictures of each kind, of several sizes, in colours."""
    for number in range(10):
        for kind in ("night", "day"):
            file = tmp_path / "tents" / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_png(file, tent(kind, 20 + number))
    return tmp_path / "tents"


@pytest.mark.parametrize("name", ["stn_cnn", "stn_svhn_single", "stn_birds_2x"])
def test_pictures_of_one_s_own_are_learned_and_named(name, tents, tmp_path):
    run = tmp_path / "run"
    small = {
        "stn_cnn": ("batch_size=8", "channels=3"),
        "stn_svhn_single": ("places=1", "batch_size=8"),
        "stn_birds_2x": ("batch_size=8",),
    }[name]
    train = ("train", f"{name}.tiny", *small, "--out", run, "--data", tents, "warm_up=0")
    code, output = call(*train, "steps=60")
    assert code == 0, output
    assert read_log(run)[-1]["test/accuracy"] == 1
    config = json.loads((run / "config.json").read_text())
    assert config["samples"] == 16
    assert config["config"]["labels"] == ["day", "night"]
    write_png(tmp_path / "new.png", tent("night", 50, 40).mean(0, keepdim=True))
    for source in (run, run / "last.pt"):
        code, output = call("infer", source, tmp_path / "new.png", tents / "day", "--json")
        assert code == 0, output
        assert [list(json.loads(line)["found"]) for line in output.splitlines()] == (
            [["night"]] + 10 * [["day"]]
        )
    code, output = call("train", name, "--out", run, "--resume", "steps=61")  # it knows the folder
    assert code == 0, output
    assert json.loads(call("evaluate", run, "--json")[1]) == {"accuracy": 1}
    shutil.rmtree(tents / "night")
    code, output = call("train", name, "--out", run, "--resume", "steps=62")
    assert (code, "a folder for each of day, night, got no night" in output) == (2, True), output


def test_pictures_of_one_s_own_may_move(tents, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    settings = ("stn_cnn.tiny", *SMALL, "channels=3", "--out", run)
    assert call("train", *settings, "--data", tents, "steps=2")[0] == 0
    tents.rename(moved)
    measured = read_log(run)[-1]["test/accuracy"]
    assert call("evaluate", run)[0] == 2
    code, output = call("evaluate", run, "--data", moved, "--json")
    assert (code, json.loads(output)) == (0, {"accuracy": measured})
    again = ("train", "stn_cnn", "--out", run, "--resume", "steps=3")
    code, output = call(*again)
    assert (code, f"{tents}: there is no such folder" in output) == (2, True), output
    code, output = call(*again, "--data", moved)
    assert code == 0, output
    assert json.loads((run / "config.json").read_text())["config"]["data"] == str(moved)
    assert call("evaluate", run / "last.pt")[0] == 0
    for number in (0, 1):
        (moved / "day" / f"{number}.png").unlink()
    code, output = call(*again, "--data", moved)
    assert (code, "samples was 16 and is 15" in output) == (2, True), output
    (moved / "day").rename(moved / "dawn")
    code, output = call(*again, "--data", moved)
    assert (code, "labels was ['day', 'night'] and is ['dawn', 'night']" in output) == (2, True)
    code, output = call("evaluate", "stn_cnn.tiny", "--data", moved)
    assert (code, "expected the names of 10 classes" in output) == (2, True), output
    generated = ("stn_cnn.tiny", *SMALL, "steps=1", "--out", tmp_path / "generated")
    code, output = call("train", *generated)
    assert code == 0, output
    code, output = call("train", *generated, "channels=3", "--resume", "--data", moved)
    assert (code, "data was ''" in output) == (2, True), output


def test_what_is_wrong_with_pictures_of_one_s_own_is_said(tents, tmp_path):
    def said(*more, folder=tents, name="stn_cnn.tiny"):
        code, output = call("train", name, "--data", folder, "--out", tmp_path / "run", *more)
        assert code == 2, output
        assert "Traceback" not in output
        assert not (tmp_path / "run" / "last.pt").exists()
        return output

    assert "nowhere: there is no such folder" in said(folder=tmp_path / "nowhere")
    assert "0.png: expected a grey picture, got colours, which channels=3" in said(*SMALL)
    assert "channels: expected one of (1, 3), got 2" in said("channels=2")
    assert "channels: expected one of (3,), got 1" in said("channels=1", name="stn_birds_2x.tiny")
    assert "expected 1 to 16 (all samples), got 17" in said("channels=3", "batch_size=17")
    assert "has one label, and the model gives 2" in said(name="stn_two_digits.tiny")
    assert "matting has nothing to learn" in said(name="matting")
    for number, count in ((3, 16), (4, 4)):  # to learn from, and for tests
        cut = tents / "day" / f"{number}.png"
        whole = cut.read_bytes()
        cut.write_bytes(whole[:500])
        found = said(*SMALL, "channels=3", "steps=1")
        assert f"1 of {count} samples" in found
        assert f"{number}.png: expected a picture, got a file that Pillow refuses" in found
        cut.write_bytes(whole)
    (tents / "dusk").mkdir()
    assert "no picture in dusk" in said()
    (tmp_path / "empty").mkdir()
    assert "a folder of pictures for each class, got no folder" in said(folder=tmp_path / "empty")


def test_a_folder_of_masks_is_segmented(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
    for number in range(5):
        write_png(tmp_path / "pets" / "images" / f"{number}.png", torch.rand(3, 40, 40))
        mask = torch.zeros(1, 40, 40)
        mask[:, :20] = 1 / 255
        write_png(tmp_path / "pets" / "masks" / f"{number}.png", mask)
    pets = ("--data", tmp_path / "pets", "classes=2", "steps=1", "batch_size=2")
    code, output = call("train", "deeplabv2_vgg16.tiny", *pets, "--out", tmp_path / "run")
    assert code == 0, output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["samples"] == 4
    (tmp_path / "pets" / "masks" / "4.png").write_bytes(b"")  # the one for tests
    code, output = call("train", "deeplabv2_vgg16.tiny", *pets, "--out", tmp_path / "other")
    assert (code, "1 of 1 pictures" in output) == (2, True), output


def test_a_segmenter_says_which_labels_it_found(tmp_path):
    model = zoo.create_model("deeplabv2_vgg16.tiny", labels=("ground", "disc", "square", "tent"))
    zoo.save_pretrained(model, tmp_path / "model")
    write_png(tmp_path / "scene.png", torch.rand(3, 50, 60))
    code, output = call("infer", tmp_path / "model", tmp_path / "scene.png", "--json")
    assert code == 0, output
    found = json.loads(output)["found"]
    assert set(found) <= set(model.config.labels)
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stn_cnm",), "did you mean stn_cnn"),
        (("stn_cnn.tiny", "stesp=4"), "no setting 'stesp': did you mean steps"),
        (("stn_cnn.tiny", "steps"), "expected a setting as key=value, got 'steps'"),
        (("stn_cnn.tiny", "steps=many"), "steps: expected a number like 1000, got 'many'"),
        (("stn_cnn.tiny", "steps=1.5"), "expected steps of type int"),
        (("stn_cnn.tiny", "transform=bent"), "transform: expected one of"),
        (("stn_cnn.tiny", "width=0"), "width: expected a positive number, got 0"),
        (
            ("stn_cnn.tiny", *SMALL, "--evaluate-every", "9", "--watch", "test/acuracy"),
            "no metric is called 'test/acuracy': did you mean test/accuracy?",
        ),
        (("vgg16",), "vgg16 is a network without losses"),
        (("matting",), "matting has nothing to learn"),
        (("stn_cnn", "--resume"), "holds no run"),
        (("stn_cnn.tiny", "--precision", "7"), "7"),
        (("stn_cnn.tiny", "--device", "abacus"), "abacus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_said_in_a_sentence(arguments, message, tmp_path):
    code, output = call("train", *arguments, "--out", tmp_path / "run")
    assert code == 2, output
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten_or_changed(tmp_path):
    run = tmp_path / "run"
    call("train", "stn_cnn.tiny", *SMALL, "steps=2", "--out", run)
    code, output = call("train", "stn_cnn.tiny", *SMALL, "steps=2", "--out", run)
    assert (code, "add --resume" in output) == (2, True), output
    code, output = call("train", "stn_cnn", "width=5", "--out", run, "--resume")
    assert (code, "width was 4 and is 5" in output) == (2, True), output
    code, output = call("train", "stn_two_digits", "--out", run, "--resume")
    assert (code, "is a run of stn_cnn, not of stn_two_digits" in output) == (2, True), output


@pytest.mark.parametrize("command", ["evaluate", "infer", "plot"])
def test_what_is_no_run_is_named(command, tmp_path):
    more = [tmp_path] if command == "infer" else []
    code, output = call(command, tmp_path / "nothing", *more)
    assert code == 2
    assert "nothing" in output


def test_ctrl_c_leaves_a_run_and_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    mine = tmp_path / "mine_of_ctrl_c.py"
    mine.touch()
    command = [sys.executable, "-m", "pyfast.cli", "zoo", "train", "stn_cnn.tiny", *SMALL]
    options = ["--log-every", "1", "--no-progress", "--import", str(mine)]
    process = subprocess.Popen(
        [*command, "steps=100000", "--out", str(run), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    end = time.monotonic() + 120
    while not read_log(run) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    step = torch.load(run / "last.pt")["step"]
    (again,) = re.findall(r"Go on with: pyfast zoo (.*)", output)
    assert again == f"train stn_cnn.tiny --out {run} {' '.join(options)} --resume"
    code, output = call(*shlex.split(again), f"steps={step + 1}")
    assert code == 0, output
    assert read_log(run)[-1]["step"] == step + 1


@pytest.mark.parametrize(
    ("step", "advice"),
    [
        (0, "Stopped before there was a checkpoint."),
        (2, "torchrun --nproc_per_node 3 -m pyfast.cli"),
    ],
)
def test_advice_after_a_stop_can_be_followed(step, advice, tmp_path, monkeypatch):
    learn = StnCnn.loss

    def loss(self, batch):
        if self.step == step:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
            monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
            raise KeyboardInterrupt  # as at the second Ctrl-C, which does not wait
        return learn(self, batch)

    monkeypatch.setattr(StnCnn, "loss", loss)
    run = tmp_path / "run"
    code, output = call("train", "stn_cnn.tiny", *SMALL, "--save-every", "1", "--out", run)
    assert code == 130, output
    assert advice in output
    assert ("--resume" in output) == (run / "last.pt").exists()


@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not here")
def test_the_page_about_training(tmp_path, monkeypatch):
    """In fewer steps; `export` and `torchrun` have tests of their own."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        folder = tmp_path / "animals" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{number}.png", torch.rand(3, 40, 40))
    write_png(tmp_path / "digit.png", torch.rand(1, 40, 40))
    write_png(tmp_path / "photo.jpg", torch.rand(3, 40, 50))

    def fewer(found):
        return f"steps={max(10, int(found[1]) // 20)}"

    page = re.sub(r"steps=(\d+)", fewer, PAGE.read_text())
    names: dict = {}
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", page, re.DOTALL):
        if language == "python":
            exec(block, names)
        elif block.startswith("pyfast zoo"):
            for line in block.splitlines():
                command = shlex.split(line, comments=True)
                if "export" not in command:
                    code, output = call(*command[2:])
                    assert code == 0, output
    assert "weights" in read_log("runs/own")[-1]
    assert names["fine_tuning"].multipliers
