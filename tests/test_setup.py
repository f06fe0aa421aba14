"""What setup.py says where it cannot build: one sentence, with the way out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parent.parent / "setup.py"

pytestmark = pytest.mark.skipif(not SETUP.exists(), reason="the sources are not here")


def last_line(folder: Path, first: str = "pass", **environment: str) -> str:
    """Of a build that fails: packages in `folder` come first, and `first` runs before setup.py."""
    run = f"import runpy, sys; {first}; sys.argv = ['setup.py', 'build_ext', '--inplace']"
    settings = {"PYTHONPATH": str(folder), "PYFAST_BUILD_TYPE": "unfinished", "PYFAST_CUDA": "0"}
    done = subprocess.run(
        [sys.executable, "-c", f"{run}; runpy.run_path({str(SETUP)!r}, run_name='__main__')"],
        cwd=SETUP.parent,
        env=os.environ | settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout.splitlines()[-1]


def torch_of(folder: Path, version: str) -> Path:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").touch()
    (folder / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    return folder


def test_an_old_torch(tmp_path: Path) -> None:
    said = last_line(torch_of(tmp_path, "2.10.1+cpu"))
    assert said == (
        "pyfast: needs torch 2.11 or newer, found 2.10.1+cpu. Run `pip install -U torch`."
    )


def test_no_torch(tmp_path: Path) -> None:
    said = last_line(tmp_path, "sys.modules['torch'] = None")
    assert said.startswith("pyfast: building needs torch. Install it first (`pip install torch`)")


def test_old_setuptools(tmp_path: Path) -> None:
    said = last_line(tmp_path, "import setuptools; setuptools.__version__ = '65.5.0'")
    assert said.startswith("pyfast: building needs setuptools 77 or newer, found 65.5.0. Run `pip")


def test_no_tools(tmp_path: Path) -> None:
    said = last_line(tmp_path, "sys.modules['pybind11'] = None", PATH="/nowhere")
    assert said == (
        "pyfast: building needs cmake, ninja, pybind11. Run `pip install cmake ninja pybind11`."
    )


def test_no_compiler(tmp_path: Path) -> None:
    said = last_line(tmp_path, CXX="no-such-c++ -pipe")
    assert said.startswith("pyfast: building needs a C++17 compiler and found no `no-such-c++ -pip")


def test_a_build_that_fails(tmp_path: Path) -> None:
    said = last_line(tmp_path, CMAKE_ARGS="--no-such-option")
    assert said.startswith("pyfast: the native build failed (")
    assert "The first error above says why" in said
