"""Numbers of a run: as lines, as a table, in TensorBoard."""

from __future__ import annotations

import csv
import json
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfast._files import atomic_write
from pyfast._json import strict_json
from pyfast._optional import require
from pyfast.train.callbacks import Callback

if TYPE_CHECKING:
    from pyfast.train.trainer import Trainer

LOG = "log.jsonl"
TABLE = "log.csv"
WARNING = "warning"


class Log(Callback):
    """Losses, metrics, warnings as JSON lines, `log.jsonl`, and at checkpoints as `log.csv`.

    Numbers are averages over the processes.

    Args:
        every: steps between two lines, default: 10. Numbers are read from the device only then.
        tensorboard: whether to write them, and what `Samples` drew, for TensorBoard too.

    Raises:
        ImportError: tensorboard is wanted and not installed; with the pip command.
    """

    def __init__(self, every: int = 10, tensorboard: bool = False) -> None:
        self.every = every
        if tensorboard:
            require("tensorboard", "train")
        self._tensorboard = tensorboard
        self._file: Any = None
        self._writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        if not trainer.fabric.is_global_zero:
            return
        # A killed run has lines of steps that its successor takes again.
        kept = [line for line in read_log(trainer.out) if line["step"] <= trainer.step]
        with atomic_write(trainer.out / LOG) as part:
            part.write_text("".join(strict_json(line) + "\n" for line in kept))
        self._file = (trainer.out / LOG).open("a")
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(trainer.out / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=trainer.step + 1)

    def on_step(self, trainer: Trainer) -> None:
        if not (trainer.due(self.every) or trainer.metrics or trainer.pictures or trainer.warnings):
            return
        numbers = {**trainer.averages(), **trainer.metrics}
        if not self._file:
            return
        line: dict[str, Any] = {"step": trainer.step, **numbers}
        if trainer.warnings:
            line[WARNING] = "; ".join(trainer.warnings)
        self._file.write(strict_json(line) + "\n")
        self._file.flush()
        if self._writer:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, trainer.step)
            for name, picture in trainer.pictures.items():
                self._writer.add_image(name, picture.clamp(0, 1), trainer.step)
            for text in trainer.warnings:
                self._writer.add_text(WARNING, text, trainer.step)

    def on_save(self, trainer: Trainer) -> None:
        if trainer.fabric.is_global_zero:
            _write_table(trainer.out)

    def on_end(self, trainer: Trainer) -> None:
        if self._file:
            self._file.close()
        if self._writer:
            self._writer.close()


def read_log(run: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last line that a kill cut short is left out.

    All values are numbers but for that of "warning", which few lines have. What is null in the file
    is NaN.
    """
    file = Path(run) / LOG
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [
        {name: nan if value is None else value for name, value in json.loads(line).items()}
        for line in lines
    ]


def _write_table(run: Path) -> None:
    lines = read_log(run)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with atomic_write(run / TABLE) as part, part.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(lines)
