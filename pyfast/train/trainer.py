"""One loop over declared updates, on Lightning Fabric."""

from __future__ import annotations

import json
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from pyfast._files import atomic_write, sweep
from pyfast.data._random import seed_of
from pyfast.train import chance
from pyfast.train.batches import Batches, batches_from, to_device
from pyfast.train.checkpoint import CHECKPOINT, read_checkpoint, write
from pyfast.train.precision import in_precision, networks
from pyfast.train.processes import (
    average_gradients,
    broadcast_state,
    launched,
    make_fabric,
    synchronised_batch_norm,
)
from pyfast.train.updates import Update

if TYPE_CHECKING:
    from pyfast.train.callbacks import Callback
    from pyfast.zoo.system import System


class Trainer:
    """Trains a system into a folder, from which it can go on exactly where it was.

    PyTorch's random generators are seeded anew in every step, from the seed and the step's number;
    the state of those of Python and NumPy is part of a checkpoint, and the order of samples depends
    on the seed alone. Two runs, one of them interrupted, give the same bits.

    Several processes see shares of one global batch, average their gradients and, unless
    `sync_batch_norm` is false, normalise over all shares: they compute what one process would.

    Args:
        system: what is trained; its config has `steps` and the `batch_size` of all processes.
        out: folder of the run.
        data: what it learns from, in place of `system.dataset("train")`. A data set whose samples
            do not stack has a function `collate`, which makes a batch of a list of them.
        seed: of the order of samples and of noise, default: 0.
        device: "cpu", "cuda", "cuda:1", "mps"; default: a GPU where there is one.
        devices: how many processes take part, one a device; default: as many as `torchrun` started
            on this machine, else 1.
        precision: as Fabric has it: "32-true", "bf16-mixed", "16-mixed", "bf16-true"; default: 32
            bits. It rules the forward pass of the networks, which take and give float32.
        callbacks: called after steps and at checkpoints, in this order.
        save_every: steps between checkpoints, default: 1000. There is one before the last step too:
            an error in what is measured after that loses nothing else.
        workers: processes that read data, for each device; default: 0, the training process.
        sync_batch_norm: whether batch normalisation spans all processes, default: true.

    Raises:
        ValueError: a negative count; a device that is not here or does not fit `devices`.

    Attributes:
        step: number of steps done.
        batch: the first batch of the last step.
        values: losses and what else the updates gave in the last step: scalars.
        metrics: numbers that callbacks measured after the last step.
        pictures: what callbacks drew after the last step, (C, H, W) by name.
        warnings: what callbacks found that people should know after the last step.
        optimizers: one for each update, by its name.
        settings: what has to stay as it is in a run that goes on; `config.json` has it.
        fabric: device, rank and precision.

    Example:
        >>> from pyfast import train, zoo
        >>> system = zoo.create_model("stn_cnn.tiny")            # doctest: +SKIP
        >>> train.Trainer(system, "runs/stn", seed=1).fit()      # doctest: +SKIP
    """

    def __init__(
        self,
        system: System,
        out: str | Path,
        *,
        data: Dataset[Any] | None = None,
        seed: int = 0,
        device: str | None = None,
        devices: int | None = None,
        precision: Any = None,
        callbacks: Sequence[Callback] = (),
        save_every: int = 1000,
        workers: int = 0,
        sync_batch_norm: bool = True,
    ) -> None:
        for name, count in (("save_every", save_every), ("workers", workers)):
            if count < 0:
                raise ValueError(f"{name}: expected no negative number, got {count}")
        self.fabric = make_fabric(device, devices, precision)
        self._precision = self.fabric.strategy.precision
        self.system, self.out, self.seed = system, Path(out), seed
        self.callbacks, self.save_every = tuple(callbacks), save_every
        self._data, self._workers, self._sync_batch_norm = data, workers, sync_batch_norm
        self.step = self._drawn = 0
        self.batch: Any = None
        self.values: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.pictures: dict[str, Tensor] = {}
        self.warnings: list[str] = []
        self.optimizers: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self._stop = self._several = False
        self._device, self._rank = torch.device("cpu"), 0

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.system.config.steps

    def due(self, every: int | None) -> bool:
        """Whether the last step was one of every so many, or the last of the run.

        Args:
            every: steps between two. None: the last one only.
        """
        return self.finished or bool(every and self.step % every == 0)

    def fit(self, resume: bool = False) -> None:
        """Runs the steps that are left.

        Args:
            resume: whether to go on from the folder's checkpoint. The config must be that of the
                run, except for `steps` and the place of a folder `data`: a run may be made longer,
                and pictures may have moved.

        Raises:
            FileExistsError: the folder has a run, and `resume` is false.
            FileNotFoundError: `resume` is true, and the folder has no checkpoint.
            ValueError: the checkpoint is of a run with other settings; with the difference.
            OSError: a file cannot be written, as on a full disk; the checkpoint before stays.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, when the step is done and the checkpoint is
                written; a second one does not wait.
        """
        with launched(self.fabric), ExitStack() as stack:
            # Asked in every step; Fabric looks them up anew each time.
            self._device, self._rank = self.fabric.device, self.fabric.global_rank
            self._several = self.fabric.world_size > 1
            if self._several and self._sync_batch_norm:
                stack.enter_context(synchronised_batch_norm(self.system))
            dataset: Any = self.system.dataset("train") if self._data is None else self._data
            self.settings = self._describe(dataset)
            saved = read_checkpoint(self.out, self.settings) if resume else None
            if not resume and (self.out / CHECKPOINT).exists():
                raise FileExistsError(f"{self.out} has a run: resume it or choose another folder")
            order = Batches(
                len(dataset),
                self.system.config.batch_size,
                self.seed,
                self._rank,
                self.fabric.world_size,
            )
            for network in dict.fromkeys(networks(self.system)):
                stack.enter_context(in_precision(network, self._precision))
            self._prepare(saved)
            self._batches = batches_from(
                dataset, order, self._drawn, self._workers, self._device.type == "cuda"
            )
            stack.enter_context(self._finishing_the_step())
            for callback in self.callbacks:
                callback.check(self)
            self._write_description()
            self._loop()

    def _loop(self) -> None:
        try:
            for callback in self.callbacks:
                callback.on_start(self)
            stop = False
            while not (self.finished or stop):
                self._one_step()
                self.step += 1
                for callback in self.callbacks:
                    callback.on_step(self)
                stop = self.any_process(self._stop)
                # Much is measured after the last step. An error there costs that step alone, which
                # a resumed run does again, measurements and all.
                last_is_next = self.step == self.system.config.steps - 1
                if stop or last_is_next or self.due(self.save_every):
                    self.save()
            if stop:
                raise KeyboardInterrupt
        finally:
            for callback in self.callbacks:
                callback.on_end(self)

    def _one_step(self) -> None:
        self.seed_generators(self.step)
        # Past nn.Module, which would look for a parameter, a module or a buffer of that name.
        object.__setattr__(self.system, "step", self.step)
        self.values, self.metrics, self.pictures, self.warnings = {}, {}, {}, []
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
        optimizer, parameters = self.optimizers[update.name], self._parameters[update.name]
        precision, several = self._precision, self._several

        def gradients() -> Tensor:
            optimizer.zero_grad()
            losses = []
            for batch in batches:
                result = update.loss(batch)
                loss, extra = result if isinstance(result, tuple) else (result, {})
                loss = loss / len(batches) if len(batches) > 1 else loss
                precision.backward(loss, None)
                losses.append(loss.detach())
                for name, value in extra.items():  # without the graph that they may hang on
                    self.values[name] = value.detach() if isinstance(value, Tensor) else value
            total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
            if several:
                average_gradients(parameters)
                if isinstance(optimizer, LBFGS):
                    # Its line search looks at the loss, which has to be the same everywhere.
                    total = self.fabric.all_reduce(total)
            if update.clip is not None:
                self.fabric.clip_gradients(
                    self.system, optimizer, max_norm=update.clip, error_if_nonfinite=False
                )
            self.values[update.name] = total
            return total

        others = self._others[update.name]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            if isinstance(optimizer, LBFGS):
                precision.optimizer_step(optimizer, closure=gradients)
            else:
                gradients()
                precision.optimizer_step(optimizer)
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
        if update.after is not None:
            with torch.no_grad():
                update.after()

    def _draw(self) -> Any:
        self._drawn += 1
        return to_device(next(self._batches), self._device)

    def seed_generators(self, *numbers: int) -> None:
        """Seeds PyTorch's generators from the run's seed, these numbers and the process."""
        seed = seed_of(self.seed, *numbers, self._rank)
        # torch.manual_seed would also queue a call for every kind of device that is not in use.
        torch.default_generator.manual_seed(seed)
        if self._device.type != "cpu":
            torch.get_device_module(self._device).manual_seed(seed)

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them have to ask."""
        if not self._several:
            return flag
        return bool(self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum"))

    def first_process(self, flag: bool) -> bool:
        """The flag of the first process; all of them have to ask."""
        return self.any_process(flag and self.fabric.is_global_zero)

    def warn(self, text: str) -> None:
        """Tells people something, now and in the log and the page of the run; in all processes."""
        self.warnings.append(text)
        if self.fabric.is_global_zero:
            warnings.warn(f"step {self.step}: {text}", stacklevel=2)

    def averages(self) -> dict[str, float]:
        """`values`, averaged over the processes; all of them have to ask."""
        if not self._several or not self.values:
            return {name: float(value) for name, value in self.values.items()}
        numbers = torch.stack(
            [torch.as_tensor(v, device=self.fabric.device).float() for v in self.values.values()]
        )
        numbers = self.fabric.all_reduce(numbers)
        return dict(zip(self.values, numbers.tolist(), strict=True))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, on averaged weights where a callback keeps them."""
        from pyfast.zoo.system import evaluating

        with torch.no_grad(), ExitStack() as stack:
            stack.callback(chance.set_state, chance.state())
            for callback in self.callbacks:
                stack.enter_context(callback.evaluating(self))
            stack.enter_context(evaluating(self.system))
            yield

    def _prepare(self, saved: dict[str, Any] | None) -> None:
        fabric, system = self.fabric, self.system
        if saved:
            system.load_state_dict(saved["weights"])
        system.to(fabric.device).train()
        if fabric.world_size > 1:
            broadcast_state(system)
        learning = {p: name for name, p in system.named_parameters() if p.requires_grad}
        self._updates = tuple(system.updates())
        names = [update.name for update in self._updates]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"updates: expected names that differ, got {', '.join(names) or 'none'}"
            )
        self._parameters = {u.name: _parameters(u) for u in self._updates}
        everything = dict.fromkeys(p for own in self._parameters.values() for p in own)
        self._others = {
            name: [p for p in everything if p not in set(own)]
            for name, own in self._parameters.items()
        }
        self._schedules: dict[str, Any] = {}
        for update in self._updates:
            own = self._parameters[update.name]
            if not set(own) <= set(learning):
                raise ValueError(
                    f"update {update.name}: expected networks that belong to the system, as "
                    "self.network does; others are not saved"
                )
            optimizer = update.make_optimizer((learning[p], p) for p in own)
            if update.schedule is not None:
                self._schedules[update.name] = update.schedule(optimizer)
            self.optimizers[update.name] = fabric.setup_optimizers(optimizer).optimizer
        chance.seed(seed_of(self.seed, self._rank))
        if saved:
            self._restore(saved)

    def save(self, name: str = CHECKPOINT) -> None:
        """Writes a checkpoint into the folder; one that is there stays until the new one is whole.

        Args:
            name: of the file, default: that of the checkpoint from which a run goes on.
        """
        for callback in self.callbacks:
            callback.on_save(self)
        share = {"system": self.system.training_state(), "generators": chance.state()}
        shares: list[Any] = [share]
        if self._several:
            shares = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(shares, share)
        error = None
        if self.fabric.is_global_zero:
            states = {type(c).__name__: c.state_dict() for c in self.callbacks}
            checkpoint = {
                "settings": self.settings,
                "step": self.step,
                "drawn": self._drawn,
                "weights": self.system.state_dict(),
                "origin": self.system.origins(),
                "optimizers": {n: o.state_dict() for n, o in self.optimizers.items()},
                "schedules": {n: s.state_dict() for n, s in self._schedules.items()},
                "precision": self._precision.state_dict(),
                "processes": shares,
                "callbacks": {name: state for name, state in states.items() if state},
            }
            try:
                write(checkpoint, self.out / name)
            except Exception as problem:
                error = problem
        if self.any_process(error is not None):
            raise error or RuntimeError("the first process could not write its checkpoint")

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step, self._drawn = saved["step"], saved["drawn"]
        self.system.origin = saved.get("origin", self.system.origin)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        for name, schedule in self._schedules.items():
            schedule.load_state_dict(saved["schedules"][name])
            if isinstance(schedule, LambdaLR):
                # The rate again, which may depend on how long the run is to be.
                schedule.last_epoch -= 1
                schedule.step()
        self._precision.load_state_dict(saved["precision"])
        share = saved["processes"][self._rank]
        self.system.load_training_state(share["system"])
        chance.set_state(share["generators"])
        for callback in self.callbacks:
            state = saved["callbacks"].get(type(callback).__name__)
            if state:
                callback.load_state_dict(state)

    def _describe(self, dataset: Any) -> dict[str, Any]:
        """What has to stay as it is in a run that goes on."""
        from pyfast.zoo.registry import name_of

        stateful = sorted(type(c).__name__ for c in self.callbacks if c.state_dict())
        if len(set(stateful)) < len(stateful):
            raise ValueError(
                f"callbacks: expected one of each class with a state, got {', '.join(stateful)}"
            )
        return {
            "model": name_of(self.system, type(self.system).__name__),
            "seed": self.seed,
            "processes": self.fabric.world_size,
            "precision": self._precision.precision,
            "callbacks": stateful,
            "samples": len(dataset),
            "config": json.loads(json.dumps(self.system.config.to_json())),
        }

    def _write_description(self) -> None:
        if self.fabric.is_global_zero:
            from pyfast.env import report

            self.out.mkdir(parents=True, exist_ok=True)
            sweep(self.out)
            for name, facts in (("config", self.settings), ("environment", report())):
                with atomic_write(self.out / f"{name}.json") as part:
                    part.write_text(json.dumps(facts, indent=2, default=str) + "\n")

    @contextmanager
    def _finishing_the_step(self) -> Iterator[None]:
        """Lets Ctrl-C and SIGTERM wait for the end of the step; a second one does not wait."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        noted, self._stop = float("inf"), False

        def note(number: int, frame: Any) -> None:
            nonlocal noted
            # A launcher may hand on what the terminal has sent to all.
            if time.monotonic() - noted > 1:
                signal.signal(number, before[signal.Signals(number)])
                signal.raise_signal(number)
            elif not self._stop:
                self._stop, noted = True, time.monotonic()

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _parameters(update: Update) -> list[nn.Parameter]:
    """What learns in an update, each once."""
    parts = update.modules
    parts = (parts,) if isinstance(parts, nn.Module | nn.Parameter) else parts
    found: dict[nn.Parameter, None] = {}
    for part in parts:
        own = (part,) if isinstance(part, nn.Parameter) else part.parameters()
        found.update(dict.fromkeys(p for p in own if p.requires_grad))
    return list(found)
