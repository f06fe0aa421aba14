"""Weights and the config that they belong to, in one place on the disk."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model

from pyfast._files import atomic_write
from pyfast.train.checkpoint import CHECKPOINT, load_run
from pyfast.zoo.registry import check_names, create_model, find, name_of
from pyfast.zoo.system import Model

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
SHIPPED = Path(__file__).parent / "weights"


def save_pretrained(model: Model, path: str | PathLike[str]) -> Path:
    """Writes a model so that `from_pretrained` builds it again; weights that are tied stay tied.

    What was at `path` before stays until the new file is whole. The file with the weights knows the
    config too, so that the two cannot fall apart; `config.json` beside it is for people and tools.

    Args:
        model: a model of the zoo.
        path: a folder, or a file that ends in `.safetensors` for the weights alone.

    Returns:
        The file with the weights.

    Raises:
        OSError: the disk is full, or does not take the file for another reason.
        ValueError: the class of the model is not registered.
    """
    path = Path(path)
    description = {
        "model": name_of(model),
        "config": model.config.to_json(),
        "origin": model.origins(),
    }
    single = path.suffix == ".safetensors"
    weights = path if single else path / WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(weights) as part:
        try:
            save_model(model, str(part), metadata={"pyfast": json.dumps(description)})
        except SafetensorError as error:  # in which it hides what the system said
            raise OSError(f"{weights} cannot be written, as on a full disk: {error}") from error
    if not single:
        with atomic_write(path / CONFIG) as part:
            part.write_text(json.dumps(description, indent=2) + "\n")
    return weights


def from_pretrained(
    path: str | PathLike[str], *, device: torch.device | str = "cpu", **overrides: Any
) -> Any:
    """The model that `save_pretrained` wrote, or that training left, in evaluation mode.

    Args:
        path: the folder or file, or the name of weights that ship with pyfast (`shipped_weights`).
            The folder of a training run gives its `model/` or, while it is unfinished or made
            longer, what `last.pt` does; its checkpoints give the weights that measurements saw.
        device: where to put it.
        overrides: fields of the config to replace, such as `backend="torch"`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: the file is damaged, or knows no config or another one than this version; its
            weights do not fit the overrides, with what they were made with; or nothing computes on
            such a device here.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: {device} is not here: {reason}") from error
    file = _weights_file(Path(path))
    if file.suffix == ".pt":
        return _from_checkpoint(file, device, overrides)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        hint = "" if file.suffix == ".safetensors" else "; load_checkpoint reads files of others"
        raise ValueError(f"{file} is damaged or no safetensors file: {error}{hint}") from error
    if "pyfast" not in metadata:
        raise ValueError(
            f"{file} does not say which model it is of: give load_checkpoint the file and the model"
        )
    description = json.loads(metadata["pyfast"])
    model = _described(description, device, overrides)
    with _fitting(file, model, description, overrides):
        load_model(model, str(file), device=str(device))
    model.origin = description["origin"]
    return model.eval()


def _from_checkpoint(file: Path, device: torch.device | str, overrides: dict[str, Any]) -> Any:
    saved = load_run(file)
    model = _described(saved["settings"], device, overrides)
    with _fitting(file, model, saved["settings"], overrides):
        # A run that keeps averages measures those.
        model.load_state_dict(saved["callbacks"].get("EMA", saved)["weights"])
    model.origin = saved.get("origin", {})
    return model.eval()


@contextmanager
def _fitting(
    file: Path, model: Model, description: dict[str, Any], overrides: dict[str, Any]
) -> Iterator[None]:
    """Says of weights that do not fit a model with which other settings they were made."""
    try:
        yield
    except RuntimeError as error:
        made = model.Config.from_json(description["config"])
        differing = [
            f"{key}={getattr(made, key)!r} and not {value!r}"
            for key, value in overrides.items()
            if getattr(made, key) != value
        ]
        if not differing:
            raise ValueError(f"{file} does not fit its own settings: {error}") from error
        raise ValueError(
            f"{file} was made with {', '.join(differing)}: its weights fit no other model"
        ) from error


def _described(
    description: dict[str, Any], device: torch.device | str, overrides: dict[str, Any]
) -> Any:
    """A model with fresh weights, of a name and a config as they are written down."""
    name, settings = description["model"], description["config"]
    entry = find(name)
    check_names(name, entry.config(), settings)
    config = entry.model.Config.from_json(settings)
    return create_model(name, config, device=device, **overrides)


def shipped_weights() -> list[str]:
    """Names of weights that come with pyfast, made by the recipes of the zoo."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def _weights_file(path: Path) -> Path:
    run = [path / "model" / WEIGHTS, path / CHECKPOINT]
    if all(file.is_file() for file in run):  # the run may have been made longer since
        run.sort(key=lambda file: file.stat().st_mtime, reverse=True)
    for file in (path / WEIGHTS, *run, path, SHIPPED / f"{path}.safetensors"):
        if file.is_file():
            return file
    shipped = ", ".join(shipped_weights()) or "none"
    raise FileNotFoundError(
        f"from_pretrained: no {WEIGHTS} in {path}, and no weights of that name ship: {shipped}"
    )
