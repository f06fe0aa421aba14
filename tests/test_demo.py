"""The demo: its experiment, its pictures and its pages."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("rich")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")
from rich.console import Console

import pyfast
from pyfast import data, demo
from pyfast.demo import site, timing
from pyfast.demo.page import Chart, Line, Page, Picture, Section, Table, Text
from pyfast.demo.pictures import mosaic
from pyfast.demo.sampling import bends, photographs, speed, straightening
from pyfast.demo.sampling.digits import CANVAS, DIGIT, EVERYTHING, NONE, Split, alone, draw, maps
from pyfast.demo.sampling.networks import TransformerCNN, cnn, parameters
from pyfast.demo.sampling.training import Training, accuracy, deviation
from pyfast.demo.timing import compare, duration


@pytest.fixture(scope="module")
def split() -> Split:
    return Split.of(data.digits())


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if name in ("href", "src") and value]


def test_no_disturbance_puts_the_digit_amid_the_canvas(split: Split) -> None:
    images = split.test.images[:5]
    edge = (CANVAS - DIGIT) // 2
    wanted = F.pad(
        F.interpolate(images, (DIGIT, DIGIT), mode="bilinear", align_corners=False), [edge] * 4
    )
    drawn = draw(images, maps(NONE, 5, seed=0))
    inside = slice(edge + 2, -edge - 2)  # at its rim a digit fades into the empty canvas
    torch.testing.assert_close(drawn[..., inside, inside], wanted[..., inside, inside])


def test_disturbances_keep_their_range() -> None:
    turns = maps(alone("rotation"), 200, seed=0)
    torch.testing.assert_close(torch.linalg.det(turns[:, :, :2]), torch.full((200,), 4.0))
    sizes = CANVAS / torch.linalg.det(maps(alone("scale"), 200, seed=0)[:, :, :2]).sqrt()
    assert DIGIT / 1.5 <= sizes.min() < 15
    assert 27 < sizes.max() <= DIGIT * 1.5
    shifts = maps(alone("shift"), 200, seed=0)[:, :, 2].abs() * DIGIT / 2
    assert 9 < shifts.max() <= 10


def test_training_and_test_digits_are_apart(split: Split) -> None:
    assert len(split.train.labels) + len(split.test.labels) == len(data.digits().labels)
    together = torch.cat([split.train.images, split.test.images]).flatten(1)
    assert len(together.unique(dim=0)) == len(data.digits().images.flatten(1).unique(dim=0))


def test_the_plain_network_is_the_larger_one() -> None:
    assert parameters(cnn()) > parameters(TransformerCNN())


def test_training_is_the_same_on_both_backends(split: Split) -> None:
    small = Split(
        *(data.Digits(*(part[:128] for part in half)) for half in (split.train, split.test))
    )
    histories = []
    for backend in ("pyfast", "torch"):
        torch.manual_seed(0)
        run = Training(TransformerCNN(backend), small, epochs=2, backend=backend)
        histories.append(list(run.run()))
    assert histories[0] == pytest.approx(histories[1], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_transformer_beats_the_larger_network(split: Split, seed: int) -> None:
    found, networks = {}, {}
    for build in (cnn, TransformerCNN):
        torch.manual_seed(seed)
        run = Training(build(), split, epochs=straightening.EPOCHS, seed=seed)
        list(run.run())
        networks[build] = run.network
        found[build] = accuracy(run.network, split.test, EVERYTHING, renderings=4)
    assert found[TransformerCNN] >= 0.93
    assert found[TransformerCNN] >= found[cnn] + 0.06
    before, after = deviation(networks[TransformerCNN].transformer, split.test)
    assert after < 0.6 * before


def test_pages_open_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole demo, briefly: every link leads to a file, and nothing to the network."""
    quick = {"epochs": 2, "upright_epochs": 2}
    brief = straightening.section
    monkeypatch.setattr(straightening, "section", lambda *where: brief(*where, **quick))
    few = data.Digits(*(part[:400] for part in data.digits()))
    monkeypatch.setattr(straightening, "digits", lambda: few)
    monkeypatch.setattr(speed, "CASES", speed.CASES[:1])
    monkeypatch.setattr(timing, "ROUNDS", 1)
    index = demo.run(tmp_path / "pages", ["sampling"])
    pages = sorted(index.parent.glob("*.html"))
    assert [page.name for page in pages] == ["index.html", "sampling.html"]
    for page in pages:
        text = page.read_text()
        for link in Links(text).found:
            assert (page.parent / link).is_file(), link
        assert not re.search(r"https?://|url\(", text)


def test_photographs_agree_with_torch(tmp_path: Path) -> None:
    section, fact = photographs.section(tmp_path, Console(quiet=True))
    assert float(fact.value) < 1e-3
    picture = section.blocks[1]
    assert isinstance(picture, Picture)
    assert (tmp_path / Path(picture.file).name).stat().st_size > 10_000


def test_bent_photographs_come_back(tmp_path: Path) -> None:
    section = bends.section(tmp_path, Console(quiet=True))
    (table,) = [part for part in section.blocks if isinstance(part, Table)]
    for _, bent, unbent, difference in table.rows:
        assert float(unbent) < float(bent) / 2
        assert float(difference) < 1e-3
    assert (tmp_path / "bends.jpg").stat().st_size > 10_000
    flow = bends.ripple()
    back = bends.inverse_of(flow)
    there_and_back = back + pyfast.warp(flow, back, padding_mode="border")
    assert there_and_back.abs().max() < 1e-3


def test_unknown_page() -> None:
    with pytest.raises(
        demo.UnknownPageError, match="no page is called weather; there are sampling"
    ):
        demo.run(Path("unused"), ["weather"])


def test_pages_show_what_they_hold(tmp_path: Path) -> None:
    table = Table(["what", "ratio"], [["a < b", "2.0x"]], "A table.", strong=[1])
    page = Page(
        name="made-up",
        title="Made up",
        summary="Nothing.",
        facts=[],
        sections=[Section("Section", [Text("Some text."), table])],
        preview=Picture("made-up/x.png", 2, 2, "x"),
    )
    site.write(tmp_path, [page])
    text = (tmp_path / "made-up.html").read_text()
    assert "a &lt; b" in text
    assert '<td class="strong">2.0x</td>' in text
    assert "Some text." in text


def test_chart_places_points() -> None:
    chart = Chart("", "", [Line("a", [(1, 0.0), (3, 1.0)])], ticks=[(1, "1"), (3, "3")])
    assert chart.path(chart.lines[0]) == f"0.0,{chart.HEIGHT:.1f} {chart.WIDTH:.1f},0.0"


def test_mosaic_keeps_order() -> None:
    tiles = torch.arange(6.0).view(2, 3, 1, 1, 1).expand(2, 3, 1, 2, 2)
    joined = mosaic(tiles, gap=1, background=9)
    assert joined.shape == (1, 5, 8)
    assert joined[0, 0].tolist() == [0, 0, 9, 1, 1, 9, 2, 2]
    assert joined[0, 3].tolist() == [3, 3, 9, 4, 4, 9, 5, 5]


def test_comparison_and_durations() -> None:
    slow = torch.rand(300, 300)
    time = compare(lambda: slow[:10] @ slow, lambda: [slow @ slow for _ in range(8)], 0.02)
    assert time.ours < time.theirs
    assert time.ratio > 1
    assert [duration(t) for t in (3e-6, 0.0123, 2.0)] == ["3 µs", "12.3 ms", "2 s"]


def test_optional_packages_are_named() -> None:
    from pyfast._optional import require

    with pytest.raises(
        ImportError, match=r"needs no_such_package here.*pip install 'pyfast\[data\]'"
    ):
        require("no_such_package.part", "data")


def test_photograph_names() -> None:
    assert data.photograph("chelsea").shape == (3, 300, 451)
    with pytest.raises(ValueError, match=r"expected one of astronaut, .*, got 'dog'"):
        data.photograph("dog")
