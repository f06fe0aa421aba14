"""What a run leaves behind: records, as JSON that is checked when it is read."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

RESULTS = Path(__file__).parent / "results"
SCHEMA = 1


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float


def judge(value: float, must: float, stretch: float | None, least: bool) -> str:
    """What a value is against its bars, of which there must be `least` as much, or at most."""
    sign = 1 if least else -1
    if stretch is not None and sign * value >= sign * stretch:
        return "stretch"
    return "met" if sign * value >= sign * must else "missed"


@dataclass(frozen=True)
class Goal:
    """What a case is to reach.

    measure: a column ("torch", "opencv": how many times faster than it), "floor" (share of the
        hardware floor) or "seconds" (of a call, launch included; the less the better).
    """

    measure: str
    must: float
    stretch: float | None = None
    device: str = "cpu"
    threads: int = 1  # of a CPU

    def verdict(self, value: float) -> str:
        return judge(value, self.must, self.stretch, least=self.measure != "seconds")


@dataclass(frozen=True)
class Figure:
    """A number that is no ratio of times: of memory, of accuracy, of the slowest of many calls."""

    case: str
    measure: str  # what it is, with its unit
    value: float  # of pyfast
    peers: dict[str, float]
    must: float | None = None
    stretch: float | None = None
    least: bool = False  # whether the bars are lower bounds

    def verdict(self) -> str:
        return "" if self.must is None else judge(self.value, self.must, self.stretch, self.least)


@dataclass(frozen=True)
class Timing:
    seconds: Spread  # of a call as a program sees it, launch included
    device_seconds: Spread | None  # on the GPU alone, caches cold
    error: float  # norm of the error over norm of the exact result


@dataclass(frozen=True)
class Row:
    case: str
    op: str
    shape: list[int]
    layout: str
    direction: str
    bytes: int
    flops: int
    floor_seconds: float
    columns: dict[str, Timing]  # "pyfast" and its peers
    ratios: dict[str, Spread]  # by peer: how many times faster pyfast is
    goals: list[Goal]

    @property
    def ours(self) -> Timing:
        return self.columns["pyfast"]

    @property
    def floor_share(self) -> float:
        """The floor knows no launch, so on a GPU it is compared with the time there."""
        timing = self.ours.device_seconds or self.ours.seconds
        return self.floor_seconds / timing.median

    def value(self, goal: Goal) -> float | None:
        """What the row reached of a goal; None for a peer that is not installed."""
        if goal.measure == "floor":
            return self.floor_share
        if goal.measure == "seconds":
            return self.ours.seconds.median
        return self.ratios[goal.measure].median if goal.measure in self.ratios else None

    def verdict(self, goal: Goal) -> str:
        value = self.value(goal)
        return "not measured" if value is None else goal.verdict(value)


@dataclass(frozen=True)
class Machine:
    name: str  # a description such as amd-epyc-zen5-2vcpu; never a host name
    cpu: str
    cpus: int
    gpu: str | None
    cuda: str | None
    python: str
    torch: str
    opencv: str | None
    allocator: dict[str, str]
    libraries: dict[str, str] = field(default_factory=dict)  # versions of other peers


@dataclass(frozen=True)
class Settings:
    device: str
    threads: int
    rounds: int  # at most; fewer where a call takes long
    capability: str  # instruction set of pyfast's kernels
    torch_capability: str
    default_capability: bool  # whether the instruction set is the machine's own choice


@dataclass(frozen=True)
class Floor:
    """Ceilings of the machine, measured when the run started."""

    copy: list[list[float]]  # [bytes read and written, bytes a second], rising in size
    flops: float  # of a float32 matrix product: what the FMA units give to real code


@dataclass(frozen=True)
class Run:
    schema: int
    name: str  # the operator family
    date: str
    commit: str
    machine: Machine
    settings: Settings
    floor: Floor
    rows: list[Row]
    figures: list[Figure] = field(default_factory=list)

    @property
    def file(self) -> str:
        """File name: the family, then whatever is not the default."""
        parts = [self.name]
        if not self.settings.default_capability:
            parts.append(self.settings.capability)
        if self.settings.threads != 1 and self.settings.device == "cpu":
            parts.append(f"{self.settings.threads}threads")
        return "-".join(parts) + ".json"

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.file
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @staticmethod
    def load(path: Path) -> "Run":
        run = parse(Run, json.loads(path.read_text()), path.name)
        if run.schema != SCHEMA:
            raise ValueError(f"{path.name}: schema {run.schema}, expected {SCHEMA}")
        return run


def parse(kind: Any, value: Any, where: str) -> Any:
    """`value`, read from JSON, as `kind`; a ValueError names the place that does not fit."""
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
        if not isinstance(value, dict) or not needed <= value.keys() <= hints.keys():
            found = sorted(value) if isinstance(value, dict) else value
            raise ValueError(f"{where}: expected the fields {sorted(hints)}, got {found}")
        parts = {name: parse(hints[name], value[name], f"{where}.{name}") for name in value}
        return kind(**parts)  # type: ignore[operator]  # mypy takes kind for an instance
    if origin in (Union, UnionType):
        return None if value is None else parse(args[0], value, where)
    if origin is list and isinstance(value, list):
        return [parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: parse(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is type(value):
        return value
    raise ValueError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")
