"""Runs a net of Caffe as its prototxt describes it: convolutions, poolings, ReLU, up-sampling."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

TOKEN = re.compile(r'#[^\n]*|"[^"]*"|[{}]|[^\s{}":]+:?|:')


def parse(tokens: Iterator[str]) -> dict[str, list[Any]]:
    """Fields with all their values, in order."""
    fields: dict[str, list[Any]] = {}
    for token in tokens:
        if token == "}":
            break
        name = token.rstrip(":")
        value = next(tokens)
        if value == ":":
            value = next(tokens)
        fields.setdefault(name, []).append(parse(tokens) if value == "{" else value.strip('"'))
    return fields


def run_net(
    text: str, image: torch.Tensor, fill: Callable[[str, tuple[int, ...]], torch.Tensor]
) -> tuple[dict[str, list[int]], torch.Tensor]:
    """Shapes of the weights that `fill` gives, and the scores before the softmax."""
    tokens = (token for token in TOKEN.findall(text) if not token.startswith("#"))
    blobs, shapes, last = {"data": image}, {}, image
    for layer in parse(tokens)["layer"]:
        kind, name = layer["type"][0], layer["name"][0]
        if kind in ("Input", "Softmax", "Dropout"):
            continue
        bottom = blobs[layer["bottom"][0]]
        if kind == "ReLU":
            last = F.relu(bottom)
        elif kind == "Pooling":
            options = {k: int(v[0]) for k, v in layer["pooling_param"][0].items() if k != "pool"}
            assert layer["pooling_param"][0]["pool"] == ["MAX"]
            last = F.max_pool2d(bottom, options["kernel_size"], options["stride"], ceil_mode=True)
        else:
            options = {
                k: int(v[0])
                for k, v in layer["convolution_param"][0].items()
                if k not in ("bias_term", "weight_filler")
            }
            side, groups = options["kernel_size"], options.get("group", 1)
            count, inputs = options["num_output"], bottom.shape[1]
            pair = (count, inputs) if kind == "Convolution" else (inputs, count)
            shape = (pair[0], pair[1] // groups, side, side)
            shapes[f"{name}.weight"] = list(shape)
            weight, bias = fill(f"{name}.weight", shape), None
            if layer["convolution_param"][0].get("bias_term") != ["false"]:
                shapes[f"{name}.bias"] = [count]
                bias = fill(f"{name}.bias", (count,))
            settings = {"stride": options.get("stride", 1), "padding": options.get("pad", 0)}
            settings |= {"dilation": options.get("dilation", 1), "groups": groups}
            convolve = F.conv2d if kind == "Convolution" else F.conv_transpose2d
            last = convolve(bottom, weight, bias, **settings)
        blobs[layer["top"][0]] = last
    return shapes, last
