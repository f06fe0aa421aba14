"""The order of samples and the chance in them depend on seed, epoch and sample alone."""

import multiprocessing
import signal
import subprocess
import time
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from pyfast.data import Augmented, SampleIndex, generator
from pyfast.train.batches import Batches, batches_from


class Plain(Dataset):
    """Is not taken for a TensorDataset."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


class Slow(Plain):
    def __getitem__(self, index):
        if index:
            time.sleep(60)
        return self.data[index]


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="a signal's sender is not told")
def test_a_process_that_reads_data_ends_by_its_parent_alone():
    order = Batches(2, 1, seed=0)
    loader = batches_from(
        Slow(torch.arange(2)), order, start=[*islice(order, 2)].index([0]), workers=1
    )
    next(loader)
    (process,) = multiprocessing.active_children()
    subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join(10)
    assert process.exitcode == 0


def test_an_epoch_has_every_sample_once():
    first, second = (
        torch.tensor(list(islice(Batches(12, 4, seed=3), 6))).view(2, 12)[i] for i in (0, 1)
    )
    assert first.sort().values.tolist() == list(range(12)) == second.sort().values.tolist()
    assert first.tolist() != second.tolist()


def test_any_place_can_be_the_first():
    whole = list(islice(Batches(18, 4, seed=0), 10))
    order = Batches(18, 4, seed=0)
    order.start = 6
    assert list(islice(order, 4)) == whole[6:]


def test_shares_make_up_the_batch():
    whole = next(iter(Batches(18, 4, seed=0)))
    shares = [next(iter(Batches(18, 4, 0, rank, 2))) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(whole)


def test_batches_that_cannot_be():
    with pytest.raises(ValueError, match="expected 1 to 3"):
        Batches(3, 4, 0)
    with pytest.raises(ValueError, match="multiple of the 2 processes"):
        Batches(9, 3, 0, 0, 2)


def test_tensors_come_as_from_a_loader():
    data = TensorDataset(torch.arange(10.0), torch.arange(10))
    fast = islice(batches_from(data, Batches(10, 3, seed=1), 2), 5)
    slow = islice(batches_from(Plain(data), Batches(10, 3, seed=1), 2), 5)
    for one, other in zip(fast, slow, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def noisy(sample, generator):
    return sample + torch.rand((), generator=generator)


def test_augmentation_does_not_depend_on_workers():
    data = Augmented(Plain(torch.arange(8.0)), noisy)
    here = list(islice(batches_from(data, Batches(8, 4, seed=1), 0), 4))
    there = list(islice(batches_from(data, Batches(8, 4, seed=1), 0, workers=2), 4))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one, other)
    epochs = [torch.cat(here[:2]).sort().values, torch.cat(here[2:]).sort().values]
    assert torch.equal(epochs[0].floor(), epochs[1].floor())
    assert not torch.equal(*epochs)


def test_a_sample_s_generator():
    def drawn(index):
        return torch.rand((), generator=generator(index)).item()

    assert drawn(3) == drawn(SampleIndex(3))
    different = [SampleIndex(3), SampleIndex(4), SampleIndex(3, epoch=1), SampleIndex(3, seed=1)]
    assert len({drawn(index) for index in different}) == 4
