"""Weights out of files of any kind, without running what is in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyfast.zoo.checkpoints.caffe import read_caffemodel, read_npy

# What tensors are made of in a pickle, as with `weights_only`.
TENSOR_PARTS = {
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "builtins.set",
    "__builtin__.set",
}
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
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        content = _load_shells(file, classes)
    except OSError:
        raise
    except Exception as error:  # whatever bytes that are no pickle make of one
        reason = str(error) or "it ends too early"
        raise ValueError(f"{file} is damaged or no checkpoint: {reason}") from error
    return _unwrapped(_tensors(content, file))


class _Refused(pickle.UnpicklingError):
    """A pickle that wants what is not on the list."""


class _Shell:
    """Stands for a pickled object whose class is not wanted, only what it holds."""

    dump_patches = False  # torch asks for it where a file brings the source of its classes

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """What the state_dict of the module would be."""
        held = self.__dict__
        found = {
            prefix + name: value
            for kind in ("_parameters", "_buffers")
            for name, value in held.get(kind, {}).items()
            if isinstance(value, Tensor)
        }
        for name, child in held.get("_modules", {}).items():
            if isinstance(child, _Shell):
                found |= child.tensors(f"{prefix}{name}.")
        return found


def _load_shells(file: Path, classes: Collection[str]) -> Any:
    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full = f"{module}.{name}"
            if full in TENSOR_PARTS or (module == "torch" and name.endswith("Storage")):
                return super().find_class(module, name)
            if module.startswith("torch.nn.") or full in classes:
                return _Shell
            raise _Refused(full)

    def load(opened: Any, **options: Any) -> Any:
        return Unpickler(opened, **options).load()

    reader = SimpleNamespace(Unpickler=Unpickler, load=load, __name__="shells")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sources that are not here are said to have changed
            return torch.load(file, map_location="cpu", pickle_module=reader, weights_only=False)
    except _Refused as error:
        raise ValueError(
            f"{file} wants {error} to be imported, which is refused: only tensors and the modules "
            "of known layouts are read. If you trust it, save its state_dict where it was made"
        ) from error
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{file} is damaged or no checkpoint: {error}") from error


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, _Shell):
        return content.tensors()
    if isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        for entry in ENTRIES:
            if isinstance(content.get(entry), Mapping | _Shell):
                return _tensors(content[entry], file)
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
