"""Weights in files of Caffe and in NumPy files made of them, which are written here."""

import pickle

import numpy as np
import pytest
import torch

from pyfast import zoo
from pyfast.zoo.checkpoints import LAYOUTS
from pyfast.zoo.checkpoints.caffe import read_caffemodel, read_npy

pytest.importorskip("google.protobuf")
from pyfast.zoo.checkpoints.caffe import net_parameter

VOC = LAYOUTS["fyu_dilation8_pascal_voc"]
CAFFE_NAMES = {"network.body.features.": "", "network.final": "fc-final", "network.": ""}
CONTEXT = ["conv1_1", "conv1_2", *(f"conv{i}_1" for i in range(2, 6)), "fc1", "final"]


def caffe_name(key):
    for ours, name in CAFFE_NAMES.items():
        if key.startswith(ours):
            return name + key.removeprefix(ours)
    index, kind = key.removeprefix("context.layers.").split(".")
    return f"ct_{CONTEXT[int(index)]}.{kind}"


@pytest.fixture
def model():
    torch.manual_seed(0)
    settings = {"padded": False, "norms": False, "crop": 388, "classes": 3}
    model = zoo.create_model(
        "dilatednet8.tiny", context="large", preprocess="dilation_voc", **settings
    )
    return model.eval()


def layers_of(model):
    """{layer: [weight, bias]} under the names of Caffe."""
    layers = {}
    for key, value in model.state_dict().items():
        layers.setdefault(caffe_name(key).rpartition(".")[0], []).append(value.numpy())
    return layers


def write_caffemodel(file, layers, old=False, legacy=False):
    net = net_parameter()()
    for name, blobs in layers.items():
        layer = (net.layers if old else net.layer).add(name=name)
        for array in blobs:
            blob = layer.blobs.add(data=array.ravel().tolist())
            if legacy:
                shape = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(array.shape)
    file.write_bytes(net.SerializeToString())


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_caffemodel(tmp_path, model, old, legacy):
    write_caffemodel(tmp_path / "x.caffemodel", layers_of(model), old, legacy)
    again = zoo.create_model("dilatednet8.tiny", model.config)
    again = zoo.load_checkpoint(tmp_path / "x.caffemodel", model=again)
    assert again.origin["layout"] == VOC.name
    assert "Fisher Yu" in again.origin["licence"]
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_a_npy_file(tmp_path, model):
    content = {
        name: {"weights": weight.transpose(2, 3, 1, 0), "biases": bias}
        for name, (weight, bias) in layers_of(model).items()
    }
    np.save(tmp_path / "x.npy", content, allow_pickle=True)
    again = zoo.create_model("dilatednet8.tiny", model.config)
    again = zoo.load_checkpoint(tmp_path / "x.npy", model=again)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_npy_files_of_python_2_and_dense_layers(tmp_path):
    content = {"fc": {"weights": np.arange(6.0).reshape(2, 3), "biases": np.ones(3)}}
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(np.array(content, dtype=object), file, protocol=2)
    state = read_npy(tmp_path / "x.npy")
    assert state["fc.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["fc.bias"].tolist() == [1, 1, 1]


class Foreign:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def test_npy_files_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", {"a": Foreign()}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"builtin\w*\.eval to be imported, which is refused"):
        zoo.load_checkpoint("x.npy")
    assert not (tmp_path / "ran").exists()
    np.save("y.npy", np.zeros(3))
    with pytest.raises(ValueError, match="dictionary of layers"):
        zoo.load_checkpoint("y.npy")
    (tmp_path / "z.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        zoo.load_checkpoint("z.npy")


def test_caffemodels_that_are_none(tmp_path, model):
    (tmp_path / "x.caffemodel").write_bytes(b"\xff\xff no message")
    with pytest.raises(ValueError, match="damaged"):
        read_caffemodel(tmp_path / "x.caffemodel")
    (tmp_path / "x.caffemodel").write_bytes(b"")
    with pytest.raises(ValueError, match="no weights"):
        read_caffemodel(tmp_path / "x.caffemodel")
    net = net_parameter()()
    net.layer.add(name="a").blobs.add(data=[1, 2, 3]).shape.dim.extend([2, 2])
    (tmp_path / "x.caffemodel").write_bytes(net.SerializeToString())
    with pytest.raises(ValueError, match=r"weights \[2, 2\] in layer a, got 3"):
        read_caffemodel(tmp_path / "x.caffemodel")
