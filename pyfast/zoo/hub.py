"""Weights and the config that they belong to, in one place on the disk."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model

from pyfast._files import atomic_write
from pyfast.zoo.registry import check_fields, create_model, find, name_of
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
        ValueError: the class of the model is not registered.
    """
    path = Path(path)
    description = {
        "model": name_of(model),
        "config": model.config.to_json(),
        "origin": model.origin,
    }
    single = path.suffix == ".safetensors"
    weights = path if single else path / WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(weights) as part:
        save_model(model, str(part), metadata={"pyfast": json.dumps(description)})
    if not single:
        with atomic_write(path / CONFIG) as part:
            part.write_text(json.dumps(description, indent=2) + "\n")
    return weights


def from_pretrained(
    path: str | PathLike[str], *, device: torch.device | str = "cpu", **overrides: Any
) -> Any:
    """The model that `save_pretrained` wrote, in evaluation mode.

    Args:
        path: the folder or file, the folder of a training run, or the name of weights that ship
            with pyfast (`shipped_weights`).
        device: where to put it.
        overrides: fields of the config to replace, such as `backend="torch"`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: the file is damaged, or knows no config or another one than this version.
    """
    file = _weights_file(Path(path))
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or no safetensors file: {error}") from error
    if "pyfast" not in metadata:
        raise ValueError(
            f"{file} does not say which model it is of: give load_checkpoint the file and the model"
        )
    description = json.loads(metadata["pyfast"])
    name, settings = description["model"], description["config"]
    entry = find(name)
    check_fields(name, entry.config(), dict.fromkeys(settings))
    config = entry.model.Config.from_json(settings)
    model = create_model(name, config, device=device, **overrides)
    load_model(model, str(file), device=str(device))
    model.origin = description["origin"]
    return model.eval()


def shipped_weights() -> list[str]:
    """Names of weights that come with pyfast, made by the recipes of the zoo."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def _weights_file(path: Path) -> Path:
    for file in (path / WEIGHTS, path / "model" / WEIGHTS, path, SHIPPED / f"{path}.safetensors"):
        if file.is_file():
            return file
    shipped = ", ".join(shipped_weights()) or "none"
    raise FileNotFoundError(
        f"from_pretrained: no {WEIGHTS} in {path}, and no weights of that name ship: {shipped}"
    )
