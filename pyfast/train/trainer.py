"""One loop over declared updates, on Lightning Fabric."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import LBFGS

from pyfast._files import atomic_write
from pyfast._optional import require
from pyfast.train.batches import Batches, batches_from
from pyfast.train.updates import Update

if TYPE_CHECKING:
    from pyfast.train.callbacks import Callback
    from pyfast.zoo.system import System

CHECKPOINT = "last.pt"


class Trainer:
    """Trains a system into a folder, from which it can go on exactly where it was.

    What a step does is a function of the weights, the optimisers, the seed and the step's number:
    random generators are seeded anew in every step, and the order of samples depends on the seed
    alone. Two runs, one of them interrupted, give the same bits.

    Args:
        system: what is trained; its config has `steps` and the `batch_size` of all processes.
        out: folder of the run.
        seed: of the order of samples and of noise, default: 0.
        devices: how many processes take part; under `torchrun` as many as it started. Default: 1.
        precision: as Fabric has it, such as "bf16-mixed"; default: 32 bits.
        callbacks: called after steps and at checkpoints.
        save_every: steps between checkpoints, default: 1000.

    Attributes:
        step: number of steps done.
        values: losses and what else the updates gave in the last step: tensors and numbers.
    """

    def __init__(
        self,
        system: System,
        out: str | Path,
        *,
        seed: int = 0,
        devices: int = 1,
        precision: Any = None,
        callbacks: Sequence[Callback] = (),
        save_every: int = 1000,
    ) -> None:
        fabric = require("lightning_fabric", "train")
        strategies = require("lightning_fabric.strategies", "train")
        strategy = strategies.DDPStrategy(broadcast_buffers=False) if devices > 1 else "auto"
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        self.fabric = fabric.Fabric(
            accelerator=accelerator, devices=devices, strategy=strategy, precision=precision
        )
        self.system, self.out, self.seed = system, Path(out), seed
        self.callbacks, self.save_every = tuple(callbacks), save_every
        self.step = self._drawn = 0
        self.batch: Any = None
        self.values: dict[str, Any] = {}
        self._stop = False

    def fit(self, resume: bool = False) -> None:
        """Runs the steps that are left.

        Args:
            resume: whether to go on from the folder's checkpoint.

        Raises:
            FileExistsError: the folder has a run, and `resume` is false.
            FileNotFoundError: `resume` is true, and the folder has no checkpoint.
            ValueError: the checkpoint is of a run with other settings; with the difference.
            KeyboardInterrupt: after Ctrl-C, when the step is done and the checkpoint is written.
        """
        self.fabric.launch()
        saved = self._read(resume)
        self._describe()
        originals = dict(self.system.named_children())
        try:
            self._prepare(saved, originals)
            with self._finishing_the_step():
                self._loop()
        finally:
            for name, network in originals.items():
                setattr(self.system, name, network)

    def _loop(self) -> None:
        for callback in self.callbacks:
            callback.on_start(self)
        steps = self.system.config.steps
        while self.step < steps and not self._stop:
            self._one_step()
            self.step += 1
            for callback in self.callbacks:
                callback.on_step(self)
            self._stop = self._any_process(self._stop)
            if self.step % self.save_every == 0 or self.step == steps or self._stop:
                self.save()
        if self._stop:
            raise KeyboardInterrupt

    def _any_process(self, flag: bool) -> bool:
        if self.fabric.world_size == 1:
            return flag
        return bool(self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum"))

    def _one_step(self) -> None:
        self._seed_generators()
        self.values = {}
        self.batch = self._draw()
        for update in self._updates:
            times = update.times(self.step)
            for repetition in range(times):
                batches = [self._draw() if repetition else self.batch]
                batches += [self._draw() for _ in range(update.accumulate - 1)]
                self._apply(update, batches)
            if times and update.name in self._schedules:
                self._schedules[update.name].step()

    def _apply(self, update: Update, batches: Sequence[Any]) -> None:
        optimizer, modules = self._optimizers[update.name], self._modules[update.name]

        def gradients() -> Tensor:
            optimizer.zero_grad()
            total = torch.zeros((), device=self.fabric.device)
            for number, batch in enumerate(batches, 1):
                idle = [m for m in self._wrapped if m not in modules or number < len(batches)]
                with ExitStack() as without_exchange:
                    if self.fabric.world_size > 1:
                        for module in idle:
                            without_exchange.enter_context(self.fabric.no_backward_sync(module))
                    result = update.loss(batch)
                    loss, extra = result if isinstance(result, tuple) else (result, {})
                    self.fabric.backward(loss / len(batches))
                total += loss.detach() / len(batches)
                self.values.update(extra)
            if update.clip is not None:
                self.fabric.clip_gradients(
                    modules[0], optimizer, max_norm=update.clip, error_if_nonfinite=False
                )
            self.values[update.name] = total
            return total

        others = self._others[update.name]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            if isinstance(optimizer.optimizer, LBFGS):
                optimizer.step(gradients)
            else:
                gradients()
                optimizer.step()
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
        if update.after is not None:
            with torch.no_grad():
                update.after()

    def _draw(self) -> Any:
        self._drawn += 1
        return self.fabric.to_device(next(self._batches))

    def _seed_generators(self) -> None:
        numbers = (self.seed, self.step, self.fabric.global_rank)
        seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (for losses that use the global generator)
        random.seed(seed)

    def _prepare(self, saved: dict[str, Any] | None, networks: dict[str, nn.Module]) -> None:
        fabric, system = self.fabric, self.system
        if saved:
            system.load_state_dict(saved["weights"])
        system.to(fabric.device).train()
        for name, network in networks.items():
            if any(p.requires_grad for p in network.parameters()):
                setattr(system, name, fabric.setup_module(network))
        self._wrapped = [n for n in system.children() if hasattr(n, "_forward_module")]
        self._updates = tuple(system.updates())
        self._modules = {u.name: _as_tuple(u.modules) for u in self._updates}
        own = {
            name: [p for module in modules for p in module.parameters() if p.requires_grad]
            for name, modules in self._modules.items()
        }
        everything = {id(p): p for parameters in own.values() for p in parameters}
        self._others = {
            name: [p for key, p in everything.items() if key not in set(map(id, parameters))]
            for name, parameters in own.items()
        }
        self._optimizers: dict[str, Any] = {}
        self._schedules: dict[str, Any] = {}
        for update in self._updates:
            optimizer = update.optimizer(own[update.name])
            if update.schedule is not None:
                self._schedules[update.name] = update.schedule(optimizer)
            self._optimizers[update.name] = fabric.setup_optimizers(optimizer)
        if saved:
            self._restore(saved)
        dataset = system.dataset("train")
        order = Batches(
            len(dataset),  # type: ignore[arg-type]
            system.config.batch_size,
            self.seed,
            fabric.global_rank,
            fabric.world_size,
        )
        self._batches = batches_from(dataset, order, self._drawn)

    def save(self) -> None:
        """Writes the checkpoint, which takes the place of the last one when it is whole."""
        shares = [None] * self.fabric.world_size
        state = self.system.training_state()
        if self.fabric.world_size > 1:
            torch.distributed.all_gather_object(shares, state)
        if self.fabric.is_global_zero:
            checkpoint = {
                "settings": self._settings(),
                "step": self.step,
                "drawn": self._drawn,
                "weights": self.system.state_dict(),
                "optimizers": {n: o.optimizer.state_dict() for n, o in self._optimizers.items()},
                "schedules": {n: s.state_dict() for n, s in self._schedules.items()},
                "training": shares if self.fabric.world_size > 1 else [state],
                "callbacks": [callback.state_dict() for callback in self.callbacks],
            }
            with atomic_write(self.out / CHECKPOINT) as part:
                torch.save(checkpoint, part)
        self.fabric.barrier()

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step, self._drawn = saved["step"], saved["drawn"]
        for name, optimizer in self._optimizers.items():
            optimizer.optimizer.load_state_dict(saved["optimizers"][name])
        for name, schedule in self._schedules.items():
            schedule.load_state_dict(saved["schedules"][name])
        self.system.load_training_state(saved["training"][self.fabric.global_rank])
        for callback, state in zip(self.callbacks, saved["callbacks"], strict=True):
            callback.load_state_dict(state)

    def _read(self, resume: bool) -> dict[str, Any] | None:
        file = self.out / CHECKPOINT
        if not resume:
            if file.exists():
                raise FileExistsError(f"{self.out} has a run: resume it or choose another folder")
            return None
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        now, then = self._settings(), saved["settings"]
        differing = [
            f"{key} was {then.get(key)!r} and is {now.get(key)!r}"
            for key in {**then, **now}
            if then.get(key) != now.get(key)
        ]
        if differing:
            raise ValueError(f"{file} is of a run with other settings: {'; '.join(differing)}")
        return saved

    def _settings(self) -> dict[str, Any]:
        return {
            "system": type(self.system).__name__,
            "seed": self.seed,
            "processes": self.fabric.world_size,
            "precision": str(self.fabric._precision.precision),
            "callbacks": ", ".join(type(callback).__name__ for callback in self.callbacks),
            **json.loads(json.dumps(self.system.config.to_json())),
        }

    def _describe(self) -> None:
        if self.fabric.is_global_zero:
            from pyfast.env import report

            self.out.mkdir(parents=True, exist_ok=True)
            for name, facts in (("config", self._settings()), ("environment", report())):
                with atomic_write(self.out / f"{name}.json") as part:
                    part.write_text(json.dumps(facts, indent=2, default=str) + "\n")

    @contextmanager
    def _finishing_the_step(self) -> Iterator[None]:
        """Lets Ctrl-C wait for the end of the step; the second one does not wait."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            self._stop = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _as_tuple(modules: nn.Module | Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    return (modules,) if isinstance(modules, nn.Module) else tuple(modules)
