"""What happens beside the updates: logs, averages of weights, a stop at the first NaN."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyfast._files import atomic_write

if TYPE_CHECKING:
    from pyfast.train.trainer import Trainer

LOG = "log.jsonl"


class Callback:
    """Is called by a trainer; all methods may be left out."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step of this call, when a checkpoint is loaded."""

    def on_step(self, trainer: Trainer) -> None:
        """After each step, before a checkpoint is written."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers, words, tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""


class Log(Callback):
    """Losses as JSON lines, `log.jsonl`, and at the end of the run as a table, `log.csv`.

    Args:
        every: steps between two lines, default: 10. Numbers are read from the device only then.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every

    def on_start(self, trainer: Trainer) -> None:
        if trainer.fabric.is_global_zero:
            # A killed run has lines of steps that its successor takes again.
            kept = [line for line in read_log(trainer.out) if line["step"] <= trainer.step]
            with atomic_write(trainer.out / LOG) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def on_step(self, trainer: Trainer) -> None:
        if not trainer.fabric.is_global_zero:
            return
        last = trainer.step == trainer.system.config.steps
        if trainer.step % self.every == 0 or last:
            line = {"step": trainer.step, **{k: float(v) for k, v in trainer.values.items()}}
            with (trainer.out / LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
        if last:
            _write_table(trainer.out)


def read_log(run: str | Path) -> list[dict[str, float]]:
    """The lines of a run's log; a last line that a kill cut short is left out."""
    file = Path(run) / LOG
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def _write_table(run: Path) -> None:
    lines = read_log(run)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with atomic_write(run / "log.csv") as part, part.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(lines)


class NaNGuard(Callback):
    """Stops at the first loss that is no number and keeps the batch that led to it.

    The batch goes to `nan_batch.pt`, the last checkpoint stays.

    Args:
        every: steps between two looks, default: 1. On a GPU each look waits for the step's end.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step % self.every:
            return
        wrong = [k for k, v in trainer.values.items() if not math.isfinite(float(v))]
        if wrong:
            file = trainer.out / "nan_batch.pt"
            with atomic_write(file) as part:
                torch.save(trainer.batch, part)
            raise FloatingPointError(
                f"step {trainer.step}: {', '.join(wrong)} is not finite; the batch is in {file}"
            )


class EMA(Callback):
    """An exponential moving average of all floating-point weights and buffers.

    Args:
        decay: weight of the past, default: 0.999.

    Attributes:
        weights: the averages, by the names that the system's `state_dict` has.
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights: dict[str, torch.Tensor] = {}

    def on_start(self, trainer: Trainer) -> None:
        for name, value in trainer.system.state_dict().items():
            kept = self.weights.get(name, value)
            self.weights[name] = kept.detach().to(value.device, copy=True)

    @torch.no_grad()
    def on_step(self, trainer: Trainer) -> None:
        for name, value in trainer.system.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - self.decay)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = dict(state["weights"])
