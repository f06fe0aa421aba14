"""The benchmark harness: one small case from the command to the table, and what is stored.

How fast anything is, is never asserted here.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip("pytest_benchmark", reason="the extra `bench` is not installed")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` belongs to the tree and not to the package
pytest.importorskip("benchmarks", reason="the benchmarks are not here")

from benchmarks import report  # noqa: E402
from benchmarks.results import Figure, Goal, Run  # noqa: E402

CASE = "affine_grid_sample-64x1x28x28-forward"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints, and the file it writes."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", CASE, "and not backward"]
    options = ["--quick", "--rounds=2", "--capability=baseline", f"--results={folder}"]
    # A benchmark that knows itself inside a worker of pytest-xdist does not measure.
    settings = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return done.stdout, path


def test_command_prints_settings_and_table(outcome: tuple[str, Path]) -> None:
    printed, path = outcome
    assert "MALLOC_TRIM_THRESHOLD_=" in printed.splitlines()[0]
    assert report.text(Run.load(path)) in printed
    assert any(line.startswith(CASE) and " torch " in line for line in printed.splitlines())


def test_json_names_what_was_measured(outcome: tuple[str, Path]) -> None:
    run = Run.load(outcome[1])
    (row,) = run.rows
    assert (run.name, run.settings.capability, run.settings.rounds) == ("sampling", "baseline", 2)
    assert outcome[1].name == "sampling-baseline.json"
    assert run.machine.allocator["MALLOC_MMAP_MAX_"] == "0"
    assert row.case == CASE
    assert row.goals == [Goal("torch", 1)]
    assert row.columns["pyfast"].error < 1e-3
    assert row.floor_share > 0
    assert row.ratios["torch"].low <= row.ratios["torch"].median <= row.ratios["torch"].high


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda data: data.pop("commit"), "x.json: expected the fields"),
        (lambda data: data["rows"][0].update(extra=1), r"x.json.rows\[0\]: expected the fields"),
        (lambda data: data["machine"].update(cpus="2"), "x.json.machine.cpus: expected int"),
        (lambda data: data.update(schema=0), "x.json: schema 0"),
    ],
)
def test_json_that_does_not_fit_is_refused(outcome, tmp_path, change, place) -> None:
    data = json.loads(outcome[1].read_text())
    change(data)
    (tmp_path / "x.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=place):
        Run.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal("torch", 5, 7), 4.99, "missed"),
        (Goal("torch", 5, 7), 5.0, "met"),
        (Goal("torch", 5, 7), 7.0, "stretch"),
        (Goal("torch", 1), 100.0, "met"),
        (Goal("seconds", 8e-6), 9e-6, "missed"),
        (Goal("seconds", 8e-6, 4e-6), 3e-6, "stretch"),
    ],
)
def test_verdict(goal: Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict


@pytest.mark.parametrize(
    ("figure", "verdict", "bars"),
    [
        (Figure("a", "MB", 90.0, {}, 100, 80), "met", "<= 100 / 80"),
        (Figure("a", "MB", 70.0, {"torch": 120.0}, 100, 80), "stretch", "<= 100 / 80"),
        (Figure("a", "labels equal, %", 98.0, {}, 98.5, least=True), "missed", ">= 98.5"),
        (Figure("a", "ns a pixel", 3.0, {}), "", ""),
    ],
)
def test_figures_are_kept_and_shown(outcome, tmp_path, figure, verdict, bars) -> None:
    run = replace(Run.load(outcome[1]), figures=[figure])
    assert Run.load(run.save(tmp_path)) == run
    assert figure.verdict() == verdict
    assert report.figure_cells(figure)[3:] == [bars, verdict]
    lines = [line for line in report.text(run).splitlines() if line.startswith("a, ")]
    assert len(lines) == 1
    assert "### Figures" in report.section(run)


def test_readme_table_goes_between_the_markers(outcome: tuple[str, Path]) -> None:
    table = report.readme_table(Run.load(outcome[1]))
    readme = report.replace_between_markers((ROOT / "README.md").read_text(), table)
    assert "| 64 × 1 × 28 × 28 |" in readme
    assert report.replace_between_markers(readme, table) == readme
    with pytest.raises(ValueError, match="benchmarks -->"):
        report.replace_between_markers("no markers", table)


def test_make_hands_a_pattern_over_as_it_is() -> None:
    pattern = "(28x28 or 60x60) and forward"
    command = ["make", "--dry-run", "--no-print-directory", "bench", f"CASES={pattern}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shlex.split(shown)[-1] == pattern


def packages_of(extra: str) -> set[str]:
    """Those that pyproject.toml lists for an extra, and for the extras in it."""
    text = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(rf"^{extra} = (\[.*?\])$", text, re.MULTILINE | re.DOTALL)
    found = set()
    for requirement in ast.literal_eval(listed):
        name, extras = re.match(r"([\w-]+)(?:\[(.*)\])?", requirement).groups()
        found |= set().union(*map(packages_of, extras.split(","))) if extras else {name}
    return found


def test_the_extra_brings_what_benchmarks_import() -> None:
    """A peer that is missing is skipped, so that nobody would see that it never ran."""
    packages = {"cv2": "opencv-python-headless", "pydensecrf": "pydensecrf2"}
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        if path.parent.name == "clients":  # programs of their own, with what they are about
            continue
        modules = set(re.findall(r"^ *(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        modules |= set(re.findall(r'importorskip\("(\w+)"', path.read_text()))
        modules -= {*sys.stdlib_module_names, "torch", "numpy", "scipy", "pyfast", "benchmarks"}
        wanted = {packages.get(name, name).replace("_", "-") for name in modules}
        assert wanted <= packages_of("bench"), path.name
        if "from pyfast.train" in path.read_text():
            assert packages_of("train") <= packages_of("bench"), path.name


def test_page_shows_what_is_stored() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert page == report.page(report.stored_runs()), "run `python -m benchmarks.report`"


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("/nowhere/python", "gpu.sh: needs what is not here: .*/nowhere/python"),
        (sys.executable, "gpu.sh: needs (what is not here: |a GPU, and the torch of)"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and the script would run")
def test_the_gpu_script_says_what_is_missing(python: str, sentence: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh")],
        env=os.environ | {"PYTHON": python, "OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.match(sentence, done.stdout)


def test_every_route_of_convolutions_is_of_a_class_that_is_measured() -> None:
    """A class that got another name would leave its routes behind, and be torch's unnoticed."""
    from benchmarks.conv_routes import SHAPES, TABLE, prepare
    from pyfast.ops._conv_routes import ALGORITHMS, shape_class

    with FakeTensorMode():
        calls = [prepare(shape, "contiguous", False) for shape in SHAPES]
    measured = {shape_class(call) for call in calls}
    routes = json.loads(TABLE.read_text())["routes"]
    assert {route["class"] for route in routes} <= measured
    assert {route["algorithm"] for route in routes} < set(ALGORITHMS)
    keys = [(r["level"], r["class"], r["layout"], r["use"]) for r in routes]
    assert len(set(keys)) == len(keys) > 100


def test_routes_of_convolutions_are_shown_as_a_table() -> None:
    from benchmarks.conv_routes import as_text

    route = {"class": "few", "layout": "channels_last", "use": "training", "algorithm": "direct"}
    routes = [route | {"level": level, "gain": 1.234} for level in ("avx2", "avx512")]
    title, head, row = as_text(routes, "avx2").splitlines()
    assert title.startswith("avx2")
    assert row.split() == ["few", "torch", "torch", "torch", "direct", "1.2x"]
    assert row.index("direct") == head.index("channels_last, training")
