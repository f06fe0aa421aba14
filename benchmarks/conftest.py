"""The `compare` fixture: checks a case, times its columns in turns, keeps the row."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import common, machine, report
from benchmarks.results import RESULTS, SCHEMA, Goal, Row, Run, Timing

# Rounds, and seconds that each column gets in each of them.
THOROUGH = (21, 10e-3)
QUICK = (7, 3e-3)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyfast benchmarks")
    group.addoption("--device", default="cpu", choices=["cpu", "cuda"])
    group.addoption("--threads", type=int, default=1)
    group.addoption("--rounds", type=int, help=f"default {THOROUGH[0]}, quick {QUICK[0]}")
    group.addoption("--quick", action="store_true", help="few short rounds, nothing stored")
    group.addoption("--results", type=Path, help="folder for the JSON; default: by machine")
    group.addoption("--commit", default=None, help="default: asked from git")


class Recorder:
    """Holds the rows of the session, by operator family."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        rounds, self.seconds = QUICK if option.quick else THOROUGH
        torch.set_num_threads(option.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        self.settings = machine.settings(option.device, option.threads, option.rounds or rounds)
        self.machine = machine.describe(option.device)
        self.floor = machine.measure_floor(option.device)
        self.commit = option.commit or machine.commit()
        self.rows: dict[str, list[Row]] = {}

    def runs(self) -> list[Run]:
        return [
            Run(
                schema=SCHEMA,
                name=family,
                date=time.strftime("%Y-%m-%d"),
                commit=self.commit,
                machine=self.machine,
                settings=self.settings,
                floor=self.floor,
                rows=rows,
            )
            for family, rows in self.rows.items()
        ]

    def goals(self, case: common.Case) -> list[Goal]:
        """The goals that hold here; wherever a case names no library: never slower than torch."""
        reduced = self.settings.threads != 1 or not self.settings.default_capability
        if self.settings.device == "cpu" and reduced:
            return [Goal("torch", 1)]
        goals = [goal for goal in case.goals if goal.device == self.settings.device]
        compared = any(goal.measure not in ("floor", "seconds") for goal in goals)
        return goals if compared else [Goal("torch", 1), *goals]

    def row(self, case: common.Case, benchmark: BenchmarkFixture) -> Row:
        device = torch.device(self.settings.device)
        with torch.set_grad_enabled(case.backward), common.quiet_interpreter():
            prepared = case.prepare(case, device)
            columns = prepared.columns
            errors = prepared.errors()
            rounds = common.Rounds(columns, device, self.seconds)
            # pytest-benchmark times ours; its setup step, which it leaves out, times the others.
            benchmark.pedantic(rounds.first, setup=rounds.peers, rounds=self.settings.rounds)
            ours, *peers = columns
            calls = rounds.calls[ours]
            rounds.seconds[ours] = [total / calls for total in benchmark.stats.stats.data]
            on_device = {
                name: common.device_seconds(column.call, self.settings.rounds)
                for name, column in columns.items()
                if device.type == "cuda"
            }
        return Row(
            case=str(case),
            op=case.op,
            shape=list(case.shape),
            layout=case.layout,
            direction=case.direction,
            bytes=case.bytes,
            flops=case.flops,
            floor_seconds=machine.floor_seconds(self.floor, case.bytes, case.flops),
            columns={
                name: Timing(
                    seconds=common.spread(rounds.seconds[name]),
                    device_seconds=on_device.get(name),
                    error=errors[name],
                )
                for name in columns
            },
            ratios={
                peer: common.ratios(rounds.seconds[peer], rounds.seconds[ours]) for peer in peers
            },
            goals=self.goals(case),
        )


RECORDER = pytest.StashKey[Recorder]()


@pytest.fixture(scope="session")
def recorder(pytestconfig: pytest.Config) -> Recorder:
    pytestconfig.stash[RECORDER] = Recorder(pytestconfig)
    return pytestconfig.stash[RECORDER]


@pytest.fixture
def compare(
    recorder: Recorder, benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Callable[[common.Case], None]:
    family = request.path.stem.removeprefix("bench_")

    def run(case: common.Case) -> None:
        recorder.rows.setdefault(family, []).append(recorder.row(case, benchmark))

    return run


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    recorder = config.stash.get(RECORDER, None)
    if recorder is None:
        return
    option = config.option
    complete = exitstatus == pytest.ExitCode.OK and not option.keyword and not option.quick
    for run in recorder.runs():
        terminalreporter.write_line("\n" + report.text(run))
        if option.results or complete:
            path = run.save(option.results or RESULTS / run.machine.name)
            terminalreporter.write_line(f"written: {path}")
