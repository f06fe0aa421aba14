"""Training: declared updates, one loop, runs that go on exactly where they were.

Lightning Fabric is imported when a trainer is made, and not before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfast.train.callbacks import EMA, Callback, Log, NaNGuard, read_log
from pyfast.train.trainer import Trainer
from pyfast.train.updates import Update, always, every, not_every, starting

if TYPE_CHECKING:
    from pyfast.zoo.system import System


def train(
    system: "System",
    out: str | Path,
    *,
    resume: bool = False,
    seed: int = 0,
    devices: int = 1,
    precision: Any = None,
) -> None:
    """Trains a system with logs, a guard against NaN and checkpoints; see `Trainer`."""
    Trainer(
        system, out, seed=seed, devices=devices, precision=precision, callbacks=(NaNGuard(), Log())
    ).fit(resume)


__all__ = [
    "EMA",
    "Callback",
    "Log",
    "NaNGuard",
    "Trainer",
    "Update",
    "always",
    "every",
    "not_every",
    "read_log",
    "starting",
    "train",
]
