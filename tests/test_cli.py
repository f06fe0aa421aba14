"""The command `pyfast`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
from typer.testing import CliRunner

from pyfast import demo
from pyfast.cli.app import app


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_help_names_the_commands() -> None:
    code, output = call("--help")
    assert code == 0
    assert "demo" in output
    assert "env" in output
    assert "matte" in output
    assert "cutout" in output


def test_env() -> None:
    assert "native module" in call("env")[1]
    assert "torch" in json.loads(call("env", "--json")[1])


def test_demo_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(demo, "run", lambda *arguments: calls.append(arguments))
    assert call("demo")[0] == 0
    assert call("demo", "--output", "here", "--page", "sampling")[0] == 0
    assert calls == [(Path("demo-output"), None), (Path("here"), ["sampling"])]


def test_unknown_page_is_a_usage_error(tmp_path: Path) -> None:
    code, output = call("demo", "--output", str(tmp_path), "--page", "weather")
    assert code == 2
    assert "weather" in output
    assert "sampling" in output


def test_missing_typer_gives_the_pip_command(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom pyfast.cli import main; main()"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.strip().endswith("pip install 'pyfast[cli]'`.")
    assert "Traceback" not in failed.stderr
