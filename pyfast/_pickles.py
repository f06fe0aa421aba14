"""Files that `torch.save` wrote, read without running what is in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.serialization import SourceChangeWarning

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


def read_pickle(file: Path, classes: Collection[str] = ()) -> Any:
    """What `torch.save` wrote, on the CPU. No code in it is run.

    Args:
        file: also one of an old PyTorch, or of pickle alone.
        classes: `module.Class` names that may be asked for, beside those of `torch.nn`: a `Shell`
            with what they hold stands for each.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or wants other code.
    """
    with warnings.catch_warnings():
        # The second way reads what the first is not sure of, and asks for no sources.
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        warnings.simplefilter("ignore", SourceChangeWarning)
        try:
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                reader: Any = _reader(classes)
                return torch.load(
                    file, map_location="cpu", pickle_module=reader, weights_only=False
                )
        except _Refused as error:
            raise ValueError(
                f"{file} wants {error} to be imported, which is refused: only tensors and the "
                "modules of known layouts are read. If you trust it, save its state_dict where it "
                "was made"
            ) from error
        except OSError:
            raise
        except Exception as error:  # whatever bytes that are no pickle make of one
            reason = str(error) or "it ends too early"
            raise ValueError(f"{file} is damaged or no checkpoint: {reason}") from error


class _Refused(pickle.UnpicklingError):
    """A pickle that wants what is not on the list."""


class Shell:
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
            if isinstance(child, Shell):
                found |= child.tensors(f"{prefix}{name}.")
        return found


def _reader(classes: Collection[str]) -> SimpleNamespace:
    """What `torch.load` takes as a pickle module."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full = f"{module}.{name}"
            if full in TENSOR_PARTS or (module == "torch" and name.endswith("Storage")):
                return super().find_class(module, name)
            if module.startswith("torch.nn.") or full in classes:
                return Shell
            raise _Refused(full)

    def load(opened: Any, **options: Any) -> Any:
        return Unpickler(opened, **options).load()

    return SimpleNamespace(Unpickler=Unpickler, load=load, __name__="shells")
