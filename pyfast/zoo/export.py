"""Models for programs without PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyfast._files import atomic_write
from pyfast._optional import require
from pyfast.zoo.system import Model

OPSET = 18


def export_onnx(model: Model, file: str | PathLike[str]) -> float:
    """Writes a model as ONNX, for any batch size, and holds it to the model in onnxruntime.

    The file computes on PyTorch's own operators (`backend="torch"`), since ONNX knows no others,
    and in evaluation mode. Inputs have the sizes of `model.example_inputs()`; the height and width
    of pictures to segment are free.

    Args:
        model: a model of the zoo; left as it is.
        file: where to write.

    Returns:
        The largest difference between the outputs of both, over the largest output.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed; with the pip command.
        ValueError: ONNX cannot hold this model; with the reason.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "export")
    if model.no_onnx:
        raise ValueError(f"{type(model).__name__} cannot be written as ONNX: {model.no_onnx}")
    plain = type(model)(replace(model.config, backend="torch"))
    plain.load_state_dict(model.state_dict())
    plain.eval()
    inputs = plain.example_inputs(2)
    free = dict.fromkeys(plain.free_axes, torch.export.Dim.DYNAMIC)
    with _without_asides():
        program: Any = torch.onnx.export(
            plain,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            dynamic_shapes=tuple({0: torch.export.Dim("batch"), **free} for _ in inputs),
        )
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as part:
        program.save(part)
    return _difference(plain, file)


@contextmanager
def _without_asides() -> Iterator[None]:
    """Leaves out what torch says of its own code and of torchvision, which nothing here uses."""

    def matters(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    log.addFilter(matters)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec", FutureWarning)
            yield
    finally:
        log.removeFilter(matters)


def _difference(model: Model, file: Path) -> float:
    session = require("onnxruntime", "export").InferenceSession(
        file.read_bytes(), providers=["CPUExecutionProvider"]
    )
    inputs = model.example_inputs(3)  # another batch size than that of the export
    for axis in model.free_axes:  # and another length
        inputs = tuple(torch.cat([each, each.narrow(axis, 0, 10 + axis)], axis) for each in inputs)
    names = [entry.name for entry in session.get_inputs()]
    fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    got = session.run(None, fed)
    with torch.no_grad():
        wanted = model(*inputs)
    wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
    pairs = [(np.asarray(a), b.numpy()) for a, b in zip(got, wanted, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)) for a, b in pairs)
