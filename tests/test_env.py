"""python -m pyfast.env: complete where all is well, and helpful where it is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyfast
from pyfast import env

PACKAGE = Path(pyfast.__file__).parent


def run(*arguments: str, path: Path = PACKAGE.parent) -> subprocess.CompletedProcess[str]:
    """A fresh Python that finds pyfast in `path` alone: -S, since an editable install hooks in."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def without_native_module(tmp_path: Path) -> Path:
    """A copy of the package as it is before the build."""
    shutil.copytree(
        PACKAGE, tmp_path / "pyfast", ignore=shutil.ignore_patterns("_C.*so", "__pycache__")
    )
    return tmp_path


@pytest.fixture
def with_torch(tmp_path: Path) -> Path:
    """A folder whose packages come before the installed ones, with pyfast in it."""
    (tmp_path / "pyfast").symlink_to(PACKAGE)
    return tmp_path


def test_report_is_complete() -> None:
    facts = env.report()
    assert list(facts) == list(env.SECTIONS)
    assert not any("error" in section for section in facts.values()), facts
    assert facts["pyfast"]["version"] == pyfast.__version__
    assert facts["native module"]["CPU capability"] in facts["native module"]["CPU capabilities"]
    json.dumps(facts)


def test_lists_the_libraries_that_torch_brought() -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc on this system")
    assert env.report()["loaded libraries"]["libgomp"]


def test_command_prints_text_and_json() -> None:
    text = run("-m", "pyfast.env")
    assert text.returncode == 0
    assert "native module" in text.stdout
    assert "RuntimeWarning" not in text.stderr
    facts = json.loads(run("-m", "pyfast.env", "--json").stdout)
    assert facts["torch"]["threads"] >= 1


def test_a_failing_probe_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> env.Facts:
        raise RuntimeError("no such thing")

    monkeypatch.setitem(env.SECTIONS, "torch", broken)
    assert env.report()["torch"] == {"error": "no such thing"}


def test_missing_native_module(without_native_module: Path) -> None:
    facts = json.loads(run("-m", "pyfast.env", "--json", path=without_native_module).stdout)
    assert "pip install --no-build-isolation" in facts["native module"]["error"]
    assert "version" in facts["torch"]


@pytest.mark.parametrize(
    "statement",
    [
        "import pyfast; pyfast.affine_grid_sample",
        "from pyfast import nn",
        "from pyfast.ops import grid_sample",
    ],
)
def test_missing_native_module_says_what_to_do(without_native_module: Path, statement: str) -> None:
    failed = run("-c", statement, path=without_native_module)
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: The native module of pyfast is not built for Python")
    assert "pip install --no-build-isolation -e ." in last


def test_native_module_that_does_not_load(without_native_module: Path) -> None:
    name = Path(pyfast._native._C.__file__).name
    (without_native_module / "pyfast" / name).write_bytes(b"not a library")
    failed = run("-c", "import pyfast; pyfast.grid_sample", path=without_native_module)
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: The native module of pyfast does not load")


def test_other_names_are_plain_attribute_errors(without_native_module: Path) -> None:
    found = run("-c", "import pyfast; print(hasattr(pyfast, 'x'))", path=without_native_module)
    assert found.stdout.strip() == "False"


def test_missing_torch(with_torch: Path) -> None:
    (with_torch / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')")
    facts = json.loads(run("-m", "pyfast.env", "--json", path=with_torch).stdout)
    assert facts["torch"] == {"error": "No module named torch"}
    assert "torch" in facts["native module"]["error"]


def test_advice_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyfast import _native

    for found, advice in ((None, "run `pip install torch`"), ("2.10.1", "`pip install -U torch`")):
        monkeypatch.setattr(_native, "_torch_version", lambda found=found: found)
        assert advice in _native._advice(ImportError("undefined symbol"))


def test_importing_is_light() -> None:
    code = (
        "import sys, torch; before = set(sys.modules)\n"
        "import pyfast; print(*set(sys.modules) - before)"
    )
    loaded = {name.partition(".")[0] for name in run("-c", code).stdout.split()}
    assert "pyfast" in loaded
    assert not loaded & {"typer", "rich", "matplotlib", "sklearn", "skimage", "jinja2", "scipy"}
