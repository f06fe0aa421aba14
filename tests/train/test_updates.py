"""Declared updates: what learns how fast, and when."""

from functools import partial

import pytest
import torch
from systems import Regression
from torch import nn
from torch.optim import LBFGS, SGD, Adam

from pyfast.train import Update, always, every, not_every, schedules, starting


def update(**options):
    net = Regression().net
    sgd = partial(SGD, lr=0.1, weight_decay=0.5)
    return Update("net", net, None, **{"optimizer": sgd, **options}), dict(net.named_parameters())


def test_multipliers_make_groups_and_the_first_that_fits_holds():
    declared, named = update(
        multipliers={"0.bias": {"lr": 20, "weight_decay": 0}, "0.*": {"lr": 10}}
    )
    groups = declared.make_optimizer(named.items()).param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    rates = {name: found[id(p)] for name, p in named.items()}
    assert rates == {
        "0.bias": (2.0, 0),
        "0.weight": (1.0, 0.5),
        "2.weight": (0.1, 0.5),
        "2.bias": (0.1, 0.5),
    }


def test_a_schedule_scales_every_group():
    declared, named = update(multipliers={"0.*": {"lr": 10}})
    optimizer = declared.make_optimizer(named.items())
    schedule = schedules.step(2)(optimizer)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"multipliers": {"head.*": {"lr": 2}}}, r"no parameter that learns is called head\.\*"),
        ({"multipliers": {"0.*": {"rate": 2}}}, "SGD has no number 'rate'.*but lr, momentum"),
        ({"multipliers": {"0.*": {"nesterov": 2}}}, "no number 'nesterov'"),
        ({"multipliers": {"0.*": {"lr": 2}}, "optimizer": LBFGS}, "per-parameter options"),
        ({"accumulate": 0}, "accumulate of at least 1"),
        ({"clip": 0.0}, "positive clip"),
    ],
)
def test_mistakes_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        declared, named = update(**options)
        declared.make_optimizer(named.items())


def test_nothing_to_learn_is_named():
    declared = Update("d", nn.ReLU(), None, Adam)
    with pytest.raises(ValueError, match="update d: its modules have no parameter"):
        declared.make_optimizer([])


def rates(schedule, steps):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return pytest.approx(found)


def test_schedules():
    assert rates(schedules.poly(4, power=2), 6) == [1, 9 / 16, 4 / 16, 1 / 16, 0, 0]
    assert rates(schedules.poly(8, power=1, every=4), 9) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0]
    assert rates(schedules.step(1, 3, gamma=0.5), 5) == [1, 0.5, 0.5, 0.25, 0.25]
    assert rates(schedules.linear(4, start=2), 6) == [1, 1, 1, 0.5, 0, 0]
    assert rates(schedules.factor(lambda t: 1 / (1 + t)), 3) == [1, 1 / 2, 1 / 3]


def test_when_and_how_often():
    def steps(when):
        return [step for step in range(7) if when(step)]

    assert steps(always) == [0, 1, 2, 3, 4, 5, 6]
    assert steps(every(3)) == [0, 3, 6]
    assert steps(not_every(3)) == [1, 2, 4, 5]
    assert steps(starting(5)) == [5, 6]
    declared, _ = update(when=starting(1), repeat=lambda step: 100 if step == 2 else 5)
    assert [declared.times(step) for step in range(4)] == [0, 5, 100, 5]
