"""Writes into expected.json what the reference repositories' own source computes.

    python tests/checkpoints/make_expected.py SOURCE=PATH ...

Entries of other sources stay. No source is kept here. SOURCE is one of

- torchvision: a folder that holds `models/vgg.py` and `models/resnet.py` of pytorch/vision; of what
  they import of their package, nothing that computes, stand-ins take the place;
- leongatys: `NeuralStyleTransfer.ipynb` of leongatys/PytorchNeuralStyleTransfer, of which the cell
  with the network is run;
- kazuto: a copy of kazuto1011/deeplab-pytorch, of which `libs/models` is imported;
- fyu, csailvision: a folder with the files `*.prototxt` of `models` of fyu/dilation and of
  CSAILVision/sceneparsing, whose layers are run by `prototxt.py`, up to the softmax.
"""

import importlib
import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import torch
from prototxt import run_net
from reference_numbers import digest, fill, uniform

SHAPE = (1, 3, 64, 64)
# Names of the notebook's outputs and of our nodes.
NODES = {"r11": "relu1_1", "r22": "relu2_2", "r34": "relu3_4", "r42": "relu4_2", "p5": "pool5"}


def torchvision_source(folder: Path, name: str) -> dict:
    """The names that a file of torchvision's models defines, run beside stand-ins."""
    source = (folder / "models" / f"{name}.py").read_text()
    package = "standin.models"
    for module in (
        "standin",
        package,
        "standin.transforms._presets",
        "standin.utils",
        f"{package}._api",
        f"{package}._meta",
        f"{package}._utils",
    ):
        sys.modules[module] = MagicMock()
    sys.modules[f"{package}._api"].WeightsEnum = type(
        "WeightsEnum", (), {"verify": staticmethod(lambda weights: weights)}
    )
    sys.modules[f"{package}._api"].register_model = lambda *_, **__: lambda function: function
    sys.modules[f"{package}._utils"].handle_legacy_interface = lambda *_, **__: (
        lambda function: function
    )
    sys.modules[f"{package}._utils"]._ovewrite_named_param = lambda *_: None
    module = types.ModuleType(f"{package}.{name}")
    module.__package__ = package
    exec(compile(source, name, "exec"), module.__dict__)
    return module.__dict__


def notebook_network(path: Path) -> torch.nn.Module:
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    (source,) = (cell for cell in cells if "class VGG(" in cell)
    names: dict = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    exec(source, names)
    return names["VGG"]()


@torch.no_grad()
def record(model: torch.nn.Module, call) -> dict:
    state = {key: fill(key, tuple(value.shape)) for key, value in model.state_dict().items()}
    model.load_state_dict(state)
    return {
        "keys": {key: list(value.shape) for key, value in state.items()},
        "outputs": {name: digest(value) for name, value in call(model.eval()).items()},
    }


def torchvision(folder: Path) -> dict:
    image = uniform("input", SHAPE)
    return {
        f"torchvision_{name}": record(
            torchvision_source(folder, file)[name](), lambda m: {"output": m(image)}
        )
        for file, names in (("vgg", ("vgg16", "vgg19")), ("resnet", ("resnet50", "resnet101")))
        for name in names
    }


def leongatys(notebook: Path) -> dict:
    image = uniform("input", SHAPE)

    def call(model):
        return dict(zip(NODES.values(), model(image, list(NODES)), strict=True))

    return {"leongatys_vgg19_conv": record(notebook_network(notebook), call)}


def kazuto(folder: Path) -> dict:
    image = uniform("input", SHAPE)
    sys.path.insert(0, str(folder))
    models = importlib.import_module("libs.models")
    return {
        name: record(build(21), lambda m: {"output": m(image)})
        for name, build in (
            ("kazuto_deeplabv2_resnet101_msc_21", models.DeepLabV2_ResNet101_MSC),
            ("kazuto_deeplabv1_resnet101_21", models.DeepLabV1_ResNet101),
        )
    }


def caffe_net(file: Path, side: int) -> dict:
    """Three scores in each direction need 372 pixels around where nothing is padded."""
    shape = (1, 3, side, side)
    shapes, output = run_net(file.read_text(), uniform("input", shape), fill)
    return {"input": shape, "keys": shapes, "outputs": {"output": digest(output)}}


def fyu(folder: Path) -> dict:
    return {
        f"fyu_{name}": caffe_net(folder / f"{name}_deploy.prototxt", 372 + 24)
        for name in (
            "dilation8_pascal_voc",
            "dilation8_camvid",
            "dilation7_kitti",
            "dilation10_cityscapes",
        )
    }


def csailvision(folder: Path) -> dict:
    return {"csailvision_dilatednet": caffe_net(folder / "deploy_DilatedNet.prototxt", 64)}


SOURCES = {
    "torchvision": torchvision,
    "leongatys": leongatys,
    "kazuto": kazuto,
    "fyu": fyu,
    "csailvision": csailvision,
}


def main(*arguments: str) -> None:
    file = Path(__file__).with_name("expected.json")
    expected = json.loads(file.read_text())
    for argument in arguments:
        source, _, path = argument.partition("=")
        expected |= SOURCES[source](Path(path))
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in expected.items())
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
