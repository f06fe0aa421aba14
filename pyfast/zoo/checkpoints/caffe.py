"""Weights in files of Caffe, and in NumPy files that were made of them.

The messages are those of caffe.proto (BVLC/caffe), of which only the fields with weights are named
here; protobuf skips the others.
"""

from __future__ import annotations

import pickle
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyfast._optional import require

# Message: its fields as (name, number, type, whether it is repeated); other types are messages.
MESSAGES = {
    "BlobShape": (("dim", 1, "INT64", True),),
    "BlobProto": (
        ("num", 1, "INT32", False),
        ("channels", 2, "INT32", False),
        ("height", 3, "INT32", False),
        ("width", 4, "INT32", False),
        ("data", 5, "FLOAT", True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, "DOUBLE", True),
    ),
    "V1LayerParameter": (("name", 4, "STRING", False), ("blobs", 6, "BlobProto", True)),
    "LayerParameter": (("name", 1, "STRING", False), ("blobs", 7, "BlobProto", True)),
    "NetParameter": (
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ),
}
# What arrays are made of in a pickle; all else is refused.
ARRAY_PARTS = {
    "numpy.core.multiarray._reconstruct": "numpy._core.multiarray",
    "numpy._core.multiarray._reconstruct": "numpy._core.multiarray",
    "numpy.ndarray": "numpy",
    "numpy.dtype": "numpy",
    "_codecs.encode": "_codecs",
}


@cache
def net_parameter() -> Any:
    """The class of the message that a `.caffemodel` is.

    Raises:
        ImportError: protobuf is not installed; with the pip command.
    """
    descriptors = require("google.protobuf.descriptor_pb2", "caffe")
    factory = require("google.protobuf.message_factory", "caffe")
    file = descriptors.FileDescriptorProto(name="caffe_weights.proto", package="caffe_weights")
    kinds = descriptors.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if kind in MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".caffe_weights.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind}")
                field.options.packed = repeated
    return factory.GetMessages([file])["caffe_weights.NetParameter"]


def read_caffemodel(file: Path) -> dict[str, Tensor]:
    """Weights of the layers of a `.caffemodel`, as `name.weight` and `name.bias`.

    Raises:
        ImportError: protobuf is not installed; with the pip command.
        ValueError: no such file, or no weights in it.
    """
    net = net_parameter()()
    message = require("google.protobuf.message", "caffe")
    try:
        net.ParseFromString(file.read_bytes())
    except message.DecodeError as error:
        raise ValueError(f"{file} is damaged or no caffemodel: {error}") from error
    state = {}
    for layer in (*net.layer, *net.layers):
        for kind, blob in zip(("weight", "bias"), layer.blobs, strict=False):
            state[f"{layer.name}.{kind}"] = _tensor(blob, file, layer.name)
            if kind == "bias":
                state[f"{layer.name}.bias"] = state[f"{layer.name}.bias"].flatten()
    if not state:
        raise ValueError(f"{file} holds no weights")
    return state


def _tensor(blob: Any, file: Path, layer: str) -> Tensor:
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    values = np.array(blob.data if len(blob.data) else blob.double_data, np.float32)
    if values.size != np.prod(shape):
        raise ValueError(f"{file}: expected weights {shape} in layer {layer}, got {values.size}")
    return torch.from_numpy(values).view(shape)


def read_npy(file: Path) -> dict[str, Tensor]:
    """Weights of a NumPy file {layer: {"weights": HWIO, "biases": O}}, OIHW; runs no code in it.

    Raises:
        ValueError: damaged, of another form, or a pickle of something else than arrays.
    """
    try:
        with file.open("rb") as opened:
            version = np.lib.format.read_magic(opened)
            header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                header = np.lib.format.read_array_header_2_0
            _, _, dtype = header(opened)
            content = _Arrays(opened, encoding="latin1").load() if dtype.hasobject else None
    except (ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{file} is damaged or no file of weights: {error}") from error
    content = content.item() if isinstance(content, np.ndarray) and content.size == 1 else content
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ValueError(f"{file}: expected a dictionary of layers with weights and biases")
    state = {}
    for layer, arrays in content.items():
        for kind, name in (("weights", "weight"), ("biases", "bias")):
            if kind in arrays:
                array = np.asarray(arrays[kind], np.float32)
                order = (3, 2, 0, 1) if array.ndim == 4 else tuple(range(array.ndim))[::-1]
                state[f"{layer}.{name}"] = torch.from_numpy(array.transpose(order).copy())
    return state


class _Arrays(pickle.Unpickler):
    """Reads arrays, and dictionaries and words around them."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it wants {full} to be imported, which is refused")
        return getattr(import_module(ARRAY_PARTS[full]), name)
