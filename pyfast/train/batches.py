"""The order of samples, as a function of the seed and of nothing else."""

import os
import signal
from collections.abc import Iterator, Mapping
from threading import Thread
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from pyfast.data.augmentation import SampleIndex


class Batches(Sampler[list[int]]):
    """Endless batches of indices: epoch after epoch, each in its own order, from any place on.

    Every process takes its share of the same global batch. A batch that an epoch cannot fill is
    left out.

    Args:
        size: number of samples.
        batch_size: of the global batch.
        seed: of the order.
        rank: which share.
        shares: how many shares.

    Raises:
        ValueError: fewer samples than a batch has, or a batch that does not divide into shares.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, shares: int = 1):
        if not 0 < batch_size <= size:
            raise ValueError(f"batch_size: expected 1 to {size} (all samples), got {batch_size}")
        if batch_size % shares:
            raise ValueError(
                f"batch_size: expected a multiple of the {shares} processes, got {batch_size}"
            )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.shares = rank, shares
        self.start = 0

    def shares_by_epoch(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Of each batch from `start` on the epoch and the indices of this share."""
        in_epoch = self.size // self.batch_size
        epoch, skip = divmod(self.start, in_epoch)
        while True:
            generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
            order = torch.randperm(self.size, generator=generator)
            for batch in order.split(self.batch_size)[skip:in_epoch]:
                yield epoch, batch[self.rank :: self.shares]
            epoch, skip = epoch + 1, 0

    def __iter__(self) -> Iterator[list[int]]:
        for epoch, share in self.shares_by_epoch():
            yield [SampleIndex(index, epoch, self.seed) for index in share.tolist()]


def batches_from(
    dataset: Dataset[Any],
    batches: Batches,
    start: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """The batches of a data set from number `start` on."""
    batches.start = start
    if type(dataset) is TensorDataset:  # no need to take it apart and to put it together again
        return ([t[share] for t in dataset.tensors] for _, share in batches.shares_by_epoch())
    return iter(
        DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pin_memory,
            collate_fn=getattr(dataset, "collate", None),
            worker_init_fn=_outlast_a_stop,
        )
    )


def _outlast_a_stop(worker: int) -> None:
    """Lets a process that reads data work on when the whole group is told to stop.

    Terminals send Ctrl-C, and clusters SIGTERM, to all processes. The training process finishes its
    step, for which it may still need data; then it ends the others, by a SIGTERM of its own if need
    be. Where the sender of a signal cannot be asked for (macOS, Windows), SIGTERM ends all.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch, its lists, tuples and dictionaries included, on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, (list, tuple)):
        return [to_device(value, device) for value in batch]
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch
