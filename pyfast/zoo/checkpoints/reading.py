"""Weights out of files of any kind, without running what is in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyfast._pickles import Shell, read_pickle
from pyfast.zoo.checkpoints.caffe import read_caffemodel, read_npy

WRAPPERS = ("module.", "_orig_mod.")
FORMATS = {".npy": read_npy, ".caffemodel": read_caffemodel}
ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net", "params")


def read_state(file: Path, classes: Collection[str] = ()) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, on the CPU.

    Args:
        file: safetensors; `.caffemodel`; `.npy` with a dictionary of layers; or what `torch.save`
            wrote: a state_dict, a dictionary that holds one, or a whole module.
        classes: `module.Class` names that a pickled module may be made of, beside those of
            `torch.nn`. None of their code runs: only their tensors are taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, no weights in it, or a pickle that wants other code.
    """
    if not file.is_file():
        raise FileNotFoundError(f"load_checkpoint: no file {file}")
    if file.suffix == ".safetensors":
        try:
            return _unwrapped(load_file(file))
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged or no safetensors file: {error}") from error
    if file.suffix in FORMATS:
        return FORMATS[file.suffix](file)
    return _unwrapped(_tensors(read_pickle(file, classes), file))


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, Shell):
        return content.tensors()
    if isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        for entry in ENTRIES:
            if isinstance(content.get(entry), Mapping | Shell):
                return _tensors(content[entry], file)
        if {"settings", "weights"} <= set(content):
            raise ValueError(
                f"{file} is the checkpoint of a run: from_pretrained reads it, and the commands "
                "infer, evaluate and export do"
            )
        raise ValueError(
            f"{file} holds no state_dict: expected tensors, or one of the entries "
            f"{', '.join(ENTRIES)}; got {', '.join(map(str, content)) or 'nothing'}"
        )
    raise ValueError(f"{file} holds no state_dict but a {type(content).__name__}")


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what DataParallel, DDP and `torch.compile` put in front of every key."""
    for prefix in WRAPPERS:
        if state and all(key.startswith(prefix) for key in state):
            return _unwrapped({key.removeprefix(prefix): value for key, value in state.items()})
    return state
