"""The fixtures of benchmarks: `compare` checks a case, times its columns in turns, keeps the row;
`figure` keeps a number that is no time."""

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import common, machine, report
from benchmarks.results import RESULTS, SCHEMA, Figure, Goal, Row, Run, Timing

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
    """Holds the rows and figures of the session, by operator family."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        rounds, self.seconds = QUICK if option.quick else THOROUGH
        torch.set_num_threads(option.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        self.settings = machine.settings(option.device, option.threads, option.rounds or rounds)
        self.machine = machine.describe(option.device)
        self.floor = machine.measure_floor(option.device)
        self.commit = option.commit or machine.commit()
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.figures: dict[str, list[Figure]] = defaultdict(list)

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
                rows=self.rows[family],
                figures=self.figures[family],
            )
            for family in dict.fromkeys([*self.rows, *self.figures])
        ]

    def concerns(self, goal: Goal) -> bool:
        """Whether a goal is one for this device, these threads and this instruction set."""
        s = self.settings
        if s.device == "cpu" and (goal.threads != s.threads or not s.default_capability):
            return False
        return goal.device == s.device

    def goals(self, case: common.Case, peers: list[str]) -> list[Goal]:
        """The goals that hold here; if none names a library: never slower than the first peer."""
        goals = [goal for goal in case.goals if self.concerns(goal)]
        compared = any(goal.measure not in ("floor", "seconds") for goal in goals)
        return goals if compared else [*(Goal(peer, 1) for peer in peers[:1]), *goals]

    def row(self, case: common.Case, benchmark: BenchmarkFixture) -> Row:
        device = torch.device(self.settings.device)
        with torch.set_grad_enabled(case.backward), common.quiet_interpreter():
            prepared = case.prepare(case, device)
            columns = prepared.columns
            errors = prepared.errors()
            rounds = common.Rounds(columns, device, self.seconds)
            count = rounds.count(self.settings.rounds)
            # pytest-benchmark times ours; its setup step, which it leaves out, times the others.
            benchmark.pedantic(rounds.first, setup=rounds.peers, rounds=count)
            ours, *peers = columns
            calls = rounds.calls[ours]
            rounds.seconds[ours] = [total / calls for total in benchmark.stats.stats.data]
            on_device = {
                name: common.device_seconds(column.call, count)
                for name, column in columns.items()
                if device.type == "cuda"
            }
        work = prepared.work or (case.bytes, case.flops)
        return Row(
            case=str(case),
            op=case.op,
            shape=list(case.shape),
            layout=case.layout,
            direction=case.direction,
            bytes=work[0],
            flops=work[1],
            floor_seconds=machine.floor_seconds(self.floor, *work),
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
            goals=self.goals(case, peers),
        )


RECORDER = pytest.StashKey[Recorder]()


@pytest.fixture(scope="session")
def recorder(pytestconfig: pytest.Config) -> Recorder:
    pytestconfig.stash[RECORDER] = Recorder(pytestconfig)
    return pytestconfig.stash[RECORDER]


@pytest.fixture
def family(request: pytest.FixtureRequest) -> str:
    return request.path.stem.removeprefix("bench_")


@pytest.fixture
def compare(
    recorder: Recorder, benchmark: BenchmarkFixture, family: str
) -> Callable[[common.Case], None]:
    """Times a case and keeps its row."""
    return lambda case: recorder.rows[family].append(recorder.row(case, benchmark))


@pytest.fixture
def figure(recorder: Recorder, family: str) -> Callable[[Figure], None]:
    """Keeps a figure."""
    return recorder.figures[family].append


@pytest.fixture
def on_the_cpu(pytestconfig: pytest.Config) -> None:
    """For files whose cases are the CPU's: `pytestmark = pytest.mark.usefixtures("on_the_cpu")`."""
    if pytestconfig.option.device != "cpu":
        pytest.skip("is about the CPU")


@pytest.fixture
def on_a_gpu(pytestconfig: pytest.Config) -> None:
    if pytestconfig.option.device == "cpu":
        pytest.skip("is about a GPU")


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
