"""How the files of others name what is in them: a layout is a few lines of this table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyfast.data.label_sets import LABEL_SETS
from pyfast.zoo.backbones.resnet import BLOCKS
from pyfast.zoo.backbones.vgg import CONVOLUTIONS
from pyfast.zoo.registry import configure

# Older files lack this counter, and nothing that runs needs it.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Layout:
    """One way to name the weights of a model.

    Attributes:
        name: how users ask for it.
        model: registered name of what it is for.
        source: the repository that writes such files.
        licence: of the source, with the notice that must travel.
        renames: (pattern, replacement), all applied in order to every key.
        settings: fields of the model's config that this layout fixes.
        sizes: fields that are read off: the key of a tensor and the axis whose length it is.
        labels: keys of `LABEL_SETS`; the one that has as many names as there are classes gives
            them, and the colours.
        drop: pattern of keys that carry nothing.
        classes: what a file that holds a whole pickled module calls the module's classes.
    """

    name: str
    model: str
    source: str
    licence: str
    renames: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    drop: str = ""
    classes: tuple[str, ...] = ()

    def rename(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under the model's own names."""
        return {
            self._rename(key): value
            for key, value in state.items()
            if not (self.drop and re.search(self.drop, key))
        }

    def config(self, state: Mapping[str, Tensor]) -> Any:
        """The config of the model that such weights are of."""
        sizes = {
            name: state[key].shape[axis]
            for name, (key, axis) in self.sizes.items()
            if key in state and state[key].dim() > axis
        }
        named: dict[str, Any] = {"palette": self.labels[0]} if self.labels else {}
        for key in self.labels:
            if len(LABEL_SETS[key].names) == sizes.get("classes"):
                named = {"labels": LABEL_SETS[key].names, "palette": key}
        return configure(self.model, **self.settings, **sizes, **named)

    def likeness(self, state: Iterable[str], names: Iterable[str]) -> float:
        """How well the file's keys are the model's: shared ones over all, in [0, 1]."""
        found = {
            self._rename(key) for key in state if not (self.drop and re.search(self.drop, key))
        }
        found = {key for key in found if not key.endswith(COUNTER)}
        known = {key for key in names if not key.endswith(COUNTER)}
        return len(found & known) / max(len(found | known), 1)

    def _rename(self, key: str) -> str:
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key


def _vgg_by_index(depth: int) -> Iterator[tuple[str, str]]:
    index = 0
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        for number in range(1, count + 1):
            yield rf"^features\.{index}\.", f"features.conv{block}_{number}."
            index += 2
        index += 1
    yield from ((rf"^classifier\.{i}\.", f"fc{6 + i // 3}.") for i in (0, 3, 6))


def _kazuto(prefix: str) -> Iterator[tuple[str, str]]:
    yield rf"^{prefix}layer1\.conv1\.conv\.", "network.body.conv1."
    yield rf"^{prefix}layer1\.conv1\.bn\.", "network.body.bn1."
    yield rf"^{prefix}aspp\.c(\d)\.", r"network.head.branches.\1."
    yield rf"^{prefix}fc\.", "network.head."
    for stage in range(1, 5):
        yield rf"^{prefix}layer{stage + 1}\.", f"network.body.layer{stage}."
    for block in range(max(map(max, BLOCKS.values()))):
        yield rf"\.block{block + 1}\.", f".{block}."
    for number, part in enumerate(("reduce", "conv3x3", "increase"), start=1):
        yield rf"\.{part}\.(conv|bn)\.", rf".\g<1>{number}."
    yield r"\.shortcut\.conv\.", ".downsample.0."
    yield r"\.shortcut\.bn\.", ".downsample.1."


def _dilation(last: str, context: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Layers of Caffe: the front end, its last one, and those of a context module."""
    yield r"^(conv\d_\d)\.", r"network.body.features.\1."
    yield r"^(fc[67])\.", r"network.\1."
    yield rf"^{last}\.", "network.final."
    if context:
        for index in range(2):
            yield rf"^{context}_conv1_{index + 1}\.", f"context.layers.{index}."
        for index in range(2, depth - 2):
            yield rf"^{context}_conv{index}_1\.", f"context.layers.{index}."
        yield rf"^{context}_fc1\.", f"context.layers.{depth - 2}."
        yield rf"^{context}_final\.", f"context.layers.{depth - 1}."
    yield r"^(ctx_)?upsample\.", "upsampling."


_FYU = "MIT, Copyright (c) 2016 Fisher Yu"
_CSAIL = "BSD-3-Clause, Copyright (c) 2019, MIT CSAIL Computer Vision"
_KAZUTO = "MIT, Copyright (c) 2017 Kazuto Nakashima"
_VISION = "BSD-3-Clause, Copyright (c) Soumith Chintala 2016, all rights reserved"

LAYOUTS = {
    layout.name: layout
    for layout in (
        *(
            Layout(
                f"torchvision_vgg{depth}",
                model=f"vgg{depth}",
                source="pytorch/vision",
                licence=_VISION,
                renames=tuple(_vgg_by_index(depth)),
                settings={"preprocess": "imagenet"},
                sizes={"classes": ("classifier.6.weight", 0)},
            )
            for depth in (16, 19)
        ),
        *(
            Layout(
                f"torchvision_resnet{depth}",
                model=f"resnet{depth}",
                source="pytorch/vision",
                licence=_VISION,
                settings={"preprocess": "imagenet"},
                sizes={"classes": ("fc.weight", 0)},
            )
            for depth in (50, 101)
        ),
        Layout(
            "leongatys_vgg19_conv",
            model="vgg19",
            source="leongatys/PytorchNeuralStyleTransfer",
            licence="MIT, Copyright (c) 2021 Leon Gatys",
            renames=((r"^conv", "features.conv"),),
            settings={"preprocess": "gatys", "classes": 0},
        ),
        Layout(
            "kazuto_deeplabv2_resnet101_msc_21",
            model="deeplabv2_resnet101",
            source="kazuto1011/deeplab-pytorch",
            licence=_KAZUTO,
            renames=tuple(_kazuto("base\\.")),
            settings={"preprocess": "deeplab"},
            sizes={"classes": ("base.aspp.c0.weight", 0)},
            labels=("voc", "coco_stuff"),
        ),
        Layout(
            "kazuto_deeplabv1_resnet101_21",
            model="deeplabv2_resnet101",
            source="kazuto1011/deeplab-pytorch",
            licence=_KAZUTO,
            renames=tuple(_kazuto("")),
            settings={"preprocess": "deeplab", "rates": (), "image_scales": ()},
            sizes={"classes": ("fc.weight", 0)},
            labels=("voc",),
        ),
        Layout(
            "fyu_dilation8_pascal_voc",
            model="dilatednet8",
            source="fyu/dilation",
            licence=_FYU,
            renames=tuple(_dilation("fc-final", "ct", 8)),
            settings={"preprocess": "dilation_voc"},
            sizes={"classes": ("fc-final.weight", 0)},
            labels=("voc",),
        ),
        *(
            Layout(
                f"fyu_dilation{depth}_{data}",
                model="dilatednet_context_basic",
                source="fyu/dilation",
                licence=_FYU,
                renames=tuple(_dilation("final", "ctx", depth)),
                settings={
                    "preprocess": f"dilation_{data}",
                    "depth": depth,
                    "upsampling": "deconvolution" if data == "cityscapes" else "zoom",
                },
                sizes={"classes": ("final.weight", 0)},
                labels=(data,),
            )
            for data, depth in (("camvid", 8), ("kitti", 7), ("cityscapes", 10))
        ),
        Layout(
            "csailvision_dilatednet",
            model="dilatednet_frontend",
            source="CSAILVision/sceneparsing",
            licence=_CSAIL,
            renames=tuple(_dilation(r"fc[-_]final\d*")),
            settings={
                "preprocess": "sceneparsing",
                "padded": True,
                "upsampling": "deconvolution",
            },
            sizes={"classes": ("fc-final151.weight", 0)},
        ),
    )
}
