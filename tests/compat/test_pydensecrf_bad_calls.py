"""What crashes pydensecrf, or what it answers wrongly, is an exception that names the argument."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pydensecrf_bad_calls as bad
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes():
    """What a child process got out of every call."""
    paths = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, str(HERE / "pydensecrf_bad_calls.py")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"crashed in {lines[-1] if lines else 'the import'}"
    assert child.stderr == ""
    return dict(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize("name", bad.CALLS)
def test_bad_calls_are_explained(name, outcomes):
    kind, text = outcomes[name]
    _, expected, named = bad.CALLS[name]
    assert kind == expected.__name__, text
    assert named in text
