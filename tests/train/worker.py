"""A training run in a process of its own: `worker.py SYSTEM FOLDER [--killed-in-save STEP]`."""

import os
import signal
import sys

import systems
import torch

from pyfast.train import EMA, Log, Trainer


class QuietRegression(systems.Regression):
    pass


class QuietInTurns(systems.InTurns):
    """Without noise and without chance, which every process has of its own."""

    def fake(self, x):
        return self.generator(x)

    def critic_loss(self, batch):
        return self.critic(self.fake(batch[0]).detach()).mean() - self.critic(batch[0]).mean()


class Killed(Trainer):
    step_of_death = 0

    def save(self):
        if self.step == self.step_of_death:
            write = torch.save

            def half(checkpoint, file):
                write(checkpoint, file)
                os.truncate(file, file.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

            torch.save = half
        super().save()


if __name__ == "__main__":
    name, out, *death = sys.argv[1:]
    Killed.step_of_death = int(death[1]) if death else 0
    system = globals().get(name) or getattr(systems, name)
    devices = int(os.environ.get("WORLD_SIZE", 1))
    trainer = Killed(system(), out, devices=devices, callbacks=(Log(1), EMA(0.9)), save_every=2)
    trainer.fit()
    if devices > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
