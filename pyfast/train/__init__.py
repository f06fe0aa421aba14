"""Training: declared updates, one loop, runs that go on exactly where they were.

Lightning Fabric is imported when a trainer is made, and not before.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfast.train import schedules
from pyfast.train.callbacks import (
    EMA,
    Callback,
    CollapseAlarm,
    Evaluate,
    KeepBest,
    NaNGuard,
    Progress,
    Samples,
    evaluate,
    grid,
)
from pyfast.train.logs import Log, read_log
from pyfast.train.page import RunPage, write_page
from pyfast.train.trainer import Trainer
from pyfast.train.updates import Update, always, every, not_every, starting

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from pyfast.zoo.system import System


def train(
    system: System,
    out: str | Path,
    *,
    resume: bool = False,
    data: Dataset[Any] | None = None,
    test_data: Dataset[Any] | None = None,
    log_every: int = 10,
    evaluate_every: int | None = None,
    watch: str | None = None,
    mode: str = "max",
    samples_every: int = 1000,
    progress: bool = False,
    tensorboard: bool | None = None,
    **options: Any,
) -> Path:
    """Trains a system with all that a run should have.

    The folder of the run then holds `last.pt` to go on from, `log.jsonl` and `log.csv`, `samples/`,
    `config.json` with the seed, `environment.json`, `index.html` with curves and samples, and, of a
    system with a name, the trained `model/` for `zoo.from_pretrained`.

    Args:
        system: of the zoo, or any `System`.
        out: folder of the run.
        resume: whether to go on from the folder's checkpoint.
        data: what it learns from, default: `system.dataset("train")`.
        test_data: what it is measured on, default: `system.dataset("test")`.
        log_every: steps between two lines of the log, default: 10.
        evaluate_every: steps between two measurements, default: only after the last step.
        watch: a metric by which the best checkpoint is kept, `best.pt`, such as "test/accuracy";
            default: none. A name that there is not is refused before the first step.
        mode: whether the best is the "max" or the "min" of it, default: "max".
        samples_every: steps between two sample pictures, default: 1000.
        progress: whether to show a bar, default: no.
        tensorboard: whether to write for TensorBoard too, default: if it is installed.
        options: of `Trainer`: seed, device, devices, precision, save_every, workers.

    Returns:
        The folder of the model, or of the run if the system has no name.

    Raises:
        FileExistsError, FileNotFoundError, ValueError, KeyboardInterrupt: see `Trainer.fit`.
        FloatingPointError: a loss is not finite.
        TypeError: this is no system.
    """
    from pyfast.zoo.system import System

    if not isinstance(system, System):
        raise TypeError(
            f"train: expected a System, got {type(system).__name__}, which says no losses"
        )
    if test_data is not None and not len(test_data):  # type: ignore[arg-type]
        raise ValueError("test_data: expected samples, got none")
    if watch and not evaluate_every:
        raise ValueError(f"evaluate_every: expected steps, since {watch} is watched, got none")
    if tensorboard is None:
        tensorboard = find_spec("tensorboard") is not None
    trainer = Trainer(
        system,
        out,
        data=data,
        callbacks=(
            *system.callbacks(),
            NaNGuard(),
            Evaluate(evaluate_every, test_data),
            *((KeepBest(watch, mode),) if watch else ()),
            Samples(samples_every),
            Log(log_every, tensorboard),
            *((Progress(),) if progress else ()),
            RunPage(),
        ),
        **options,
    )
    trainer.fit(resume)
    from pyfast.zoo import save_pretrained
    from pyfast.zoo.registry import name_of

    if not name_of(system, ""):
        return trainer.out
    if trainer.fabric.is_global_zero:
        with trainer.evaluating():
            save_pretrained(system, trainer.out / "model")
    return trainer.out / "model"


__all__ = [
    "EMA",
    "Callback",
    "CollapseAlarm",
    "Evaluate",
    "KeepBest",
    "Log",
    "NaNGuard",
    "Progress",
    "RunPage",
    "Samples",
    "Trainer",
    "Update",
    "always",
    "evaluate",
    "every",
    "grid",
    "not_every",
    "read_log",
    "schedules",
    "starting",
    "train",
    "write_page",
]
