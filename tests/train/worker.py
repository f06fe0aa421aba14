"""Training runs in processes of their own: `worker.py FOLDER SYSTEM... [--killed-in-save STEP]`.

Under torchrun the first process is killed, and only one system can be.
"""

import os
import signal
import sys
from pathlib import Path

import systems
import torch

from pyfast.train import EMA, Log, NaNGuard, Trainer


class Killed(Trainer):
    """Dies when half of a checkpoint is written."""

    step_of_death = 0

    def save(self, *name):
        if self.step == self.step_of_death:
            write = torch.save

            def half(content, file, **options):
                write(content, file, **options)
                if isinstance(file, Path):  # not a tensor on its way to another process
                    os.truncate(file, file.stat().st_size // 2)
                    os.kill(os.getpid(), signal.SIGKILL)

            torch.save = half
        super().save(*name)


def fit(name, out):
    system = getattr(systems, name)()
    callbacks = (NaNGuard(), EMA(0.9), *system.callbacks(), Log(system.log_every))
    try:
        resume = (out / "last.pt").exists()
        Killed(system, out, callbacks=callbacks, save_every=2).fit(resume)
    except FloatingPointError as error:
        (out / f"error{os.environ['RANK']}").write_text(str(error))


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    if "--killed-in-save" in names:
        Killed.step_of_death = int(names.pop())
        names.pop()
    for name in names:
        if not Killed.step_of_death or "RANK" in os.environ:
            fit(name, Path(folder) / name)
        elif child := os.fork():
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        else:
            fit(name, Path(folder) / name)
