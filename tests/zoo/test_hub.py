"""Weights with their config: whole or not there."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from pyfast import zoo
from pyfast._files import atomic_write


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_model_comes_back(toy, tmp_path):
    model = zoo.create_model("toy_wide", rate=0.5, sizes=(7,))
    model.origin = {"licence": "MIT"}
    zoo.save_pretrained(model, tmp_path / "run" / "model")
    again = zoo.from_pretrained(tmp_path / "run" / "model")
    assert type(again) is toy
    assert again.config == model.config
    assert again.origin == model.origin
    assert not again.training
    torch.testing.assert_close(again(*again.example_inputs()), model(*model.example_inputs()))
    assert again.first.weight is again.second.weight
    assert json.loads((tmp_path / "run/model/config.json").read_text())["model"] == "toy_wide"
    assert files(tmp_path / "run/model") == ["config.json", "model.safetensors"]


def test_the_weights_alone_are_enough(toy, tmp_path):
    model = zoo.create_model("toy")
    file = zoo.save_pretrained(model, tmp_path / "toy.safetensors")
    assert files(tmp_path) == ["toy.safetensors"]
    again = zoo.from_pretrained(file, backend="torch")
    assert again.config.backend == "torch"
    assert torch.equal(again.second.bias, model.second.bias)


def test_settings_that_the_weights_do_not_have_are_named(toy, tmp_path):
    file = zoo.save_pretrained(zoo.create_model("toy"), tmp_path)
    said = r"model\.safetensors was made with width=8 and not 3: its weights"
    with pytest.raises(ValueError, match=said):
        zoo.from_pretrained(tmp_path, width=3, backend="pyfast", rate=0.1)
    with pytest.raises(ValueError, match=r"width=8 and not 3, rate=0\.1 and not 0\.5: its weights"):
        zoo.from_pretrained(tmp_path, width=3, rate=0.5)
    settings = {"model": "toy", "config": toy.Config().to_json()}
    weights = zoo.create_model("toy").state_dict()
    torch.save({"settings": settings, "weights": weights, "callbacks": {}}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt was made with width=8 and not 3"):
        zoo.from_pretrained(tmp_path / "last.pt", width=3)
    weights.popitem()
    torch.save({"settings": settings, "weights": weights, "callbacks": {}}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"does not fit its own settings.*\n.*second\.bias"):
        zoo.from_pretrained(tmp_path / "last.pt", rate=0.1)
    assert zoo.from_pretrained(file, rate=0.5).config.rate == 0.5


def test_what_is_not_there_or_damaged(toy, tmp_path):
    with pytest.raises(FileNotFoundError, match="ship: "):
        zoo.from_pretrained(tmp_path)
    file = zoo.save_pretrained(zoo.create_model("toy"), tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="damaged"):
        zoo.from_pretrained(tmp_path)
    torch.save({}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="load_checkpoint reads files of others"):
        zoo.from_pretrained(tmp_path / "x.pth")
    for device in ("abacus", "cuda:99"):
        with pytest.raises(ValueError, match=f"device: {device} is not here"):
            zoo.from_pretrained("stn_cnn.tiny", device=device)
    with pytest.raises(ValueError, match="no name"):
        zoo.save_pretrained(type("Nameless", (toy,), {})(toy.Config()), tmp_path)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (tmp_path / "kept").write_text("old")

    def fill_the_disk():
        with atomic_write(tmp_path / "kept") as part:
            part.write_text("half of the n")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill_the_disk()
    assert (tmp_path / "kept").read_text() == "old"
    assert files(tmp_path) == ["kept"]
    with atomic_write(tmp_path / "kept") as part:
        part.write_text("new")
    assert (tmp_path / "kept").read_text() == "new"


def test_a_full_disk_leaves_the_old_model(toy, tmp_path):
    resource = pytest.importorskip("resource")
    old = zoo.create_model("toy")
    zoo.save_pretrained(old, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors cannot be written"):
            zoo.save_pretrained(zoo.create_model("toy"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.equal(zoo.from_pretrained(tmp_path).first.weight, old.first.weight)
    assert files(tmp_path) == ["config.json", "model.safetensors"]


def test_a_kill_leaves_the_old_model(tmp_path):
    zoo.save_pretrained(zoo.create_model("vgg16.tiny"), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    code = """
        import os, signal, sys
        from pyfast import zoo
        from pyfast.zoo import hub
        def killed(model, filename, metadata):
            open(filename, "wb").write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        hub.save_model = killed
        zoo.save_pretrained(zoo.create_model("vgg16.tiny"), sys.argv[1])
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path])
    assert run.returncode == -signal.SIGKILL
    assert (tmp_path / "model.safetensors").read_bytes() == before
    zoo.from_pretrained(tmp_path)


def test_a_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "atomic"):
        pass
    assert os.stat(tmp_path / "atomic").st_mode == os.stat(tmp_path / "plain").st_mode
