"""What a page of the demo consists of. How it looks is the matter of `templates/`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Fact:
    """A number to remember, shown large at the top of the page and on the front page."""

    value: str
    label: str


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Picture:
    kind: ClassVar[str] = "picture"
    file: str  # relative to the page
    width: int
    height: int
    caption: str
    rows: Sequence[str] = ()  # what its rows show, written beside them
    columns: Sequence[str] = ()  # what its columns show, written above them


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    strong: Sequence[int] = ()  # the columns that matter


@dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis; y runs from 0 to 1."""

    kind: ClassVar[str] = "chart"
    title: str
    x_label: str
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]

    WIDTH: ClassVar[int] = 260
    HEIGHT: ClassVar[int] = 160

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the drawing, in its units."""
        first, last = self.ticks[0][0], self.ticks[-1][0]
        return (x - first) / (last - first) * self.WIDTH, (1 - y) * self.HEIGHT

    def path(self, line: Line) -> str:
        """The points of a line as SVG's `polyline` wants them."""
        return " ".join("{:.1f},{:.1f}".format(*self.place(x, y)) for x, y in line.points)


@dataclass(frozen=True)
class Charts:
    """Charts side by side that share their lines' names."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]
    caption: str


Block = Text | Picture | Table | Charts


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """One operator at work."""

    name: str  # of the file and on the command line
    title: str
    summary: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    preview: Picture = field(kw_only=True)  # for the front page
