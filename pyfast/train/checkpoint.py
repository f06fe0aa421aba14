"""The file from which a run goes on."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

CHECKPOINT = "last.pt"


def read_checkpoint(run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of a run that has these settings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of a run with other settings.
    """
    file = run / CHECKPOINT
    if not file.exists():
        raise FileNotFoundError(f"{run} has no checkpoint to go on from: start it without resume")
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    check_settings(file, _flat(saved["settings"]), _flat(settings), saved["step"])
    return saved


def check_settings(file: Path, then: dict[str, Any], now: dict[str, Any], step: int) -> None:
    """Raises for every difference that matters; more steps do not."""
    differing = [
        f"{key} was {then.get(key)!r} and is {now.get(key)!r}"
        for key in {**then, **now}
        if key != "steps" and then.get(key) != now.get(key)
    ]
    if differing:
        raise ValueError(f"{file} is of a run with other settings: {'; '.join(differing)}")
    if now["steps"] < step:
        raise ValueError(f"{file} has done {step} steps already, and steps is {now['steps']}")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in settings.items() if k != "config"}, **settings["config"]}
