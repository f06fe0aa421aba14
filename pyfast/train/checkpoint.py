"""The file from which a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pyfast._files import atomic_write
from pyfast._pickles import read_pickle

CHECKPOINT = "last.pt"
BEST = "best.pt"


def write(content: Any, file: Path) -> None:
    """What `torch.save` writes; what was there stays until the new file is whole.

    Raises:
        OSError: the disk is full, or does not take the file for another reason.
    """
    with atomic_write(file) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:  # in which torch hides what the system said
            raise OSError(f"{file} cannot be written, as on a full disk: {error}") from error


def load_run(file: Path) -> dict[str, Any]:
    """What `Trainer.save` wrote.

    Raises:
        ValueError: the file is damaged, was not written by a trainer, or wants foreign code, which
            is not run.
    """
    saved: dict[str, Any] = read_pickle(file)
    if not isinstance(saved, dict) or not {"settings", "weights", "callbacks"} <= set(saved):
        raise ValueError(f"{file} is no checkpoint of a run: load_checkpoint reads other files")
    return saved


def read_checkpoint(run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of a run that has these settings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of a run with other settings.
    """
    file = run / CHECKPOINT
    if not file.exists():
        raise FileNotFoundError(f"{run} has no checkpoint to go on from: start it without resume")
    saved = load_run(file)
    check_settings(file, _flat(saved["settings"]), _flat(settings), saved["step"])
    return saved


def check_settings(file: Path, then: dict[str, Any], now: dict[str, Any], step: int) -> None:
    """Raises for every difference that matters; more steps and a folder that moved do not."""
    free = ["steps"]
    if then.get("data") and Path(now.get("data") or "").is_dir():
        free.append("data")
    differing = [
        f"{key} was {then.get(key)!r} and is {now.get(key)!r}"
        for key in {**then, **now}
        if key not in free and then.get(key) != now.get(key)
    ]
    if then.get("model") != now.get("model"):
        differing = differing[:1]  # settings of another model do not compare
    if differing:
        raise ValueError(f"{file} is of a run with other settings: {'; '.join(differing)}")
    if now["steps"] < step:
        raise ValueError(f"{file} has done {step} steps already, and steps is {now['steps']}")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in settings.items() if k != "config"}, **settings["config"]}
