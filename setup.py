"""Builds `pyfast._C`: environment variables -> CMake -> ninja, nothing else.

PYFAST_CUDA=1|0        build the CUDA kernels (default: when nvcc is found)
TORCH_CUDA_ARCH_LIST   architectures, as torch reads it (default: the visible GPU's, else 7.5+PTX)
PYFAST_BUILD_TYPE      Release (default), Debug, RelWithDebInfo, Sanitized
MAX_JOBS, CMAKE_ARGS   as everywhere
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
OLDEST_TORCH = (2, 11)
OLDEST_SETUPTOOLS = 77  # that knows the form of the licence in pyproject.toml


if int(setuptools.__version__.split(".")[0]) < OLDEST_SETUPTOOLS:
    sys.exit(
        f"pyfast: building needs setuptools {OLDEST_SETUPTOOLS} or newer, found "
        f"{setuptools.__version__}. Run `pip install -U setuptools`."
    )


def expect_tools() -> None:
    missing = [name for name in ("cmake", "ninja") if shutil.which(name) is None]
    missing += ["pybind11"] if find_spec("pybind11") is None else []
    if missing:
        names = " ".join(missing)
        sys.exit(f"pyfast: building needs {', '.join(missing)}. Run `pip install {names}`.")
    compiler = os.environ.get("CXX") or "c++"
    if shutil.which(shlex.split(compiler)[0]) is None:
        sys.exit(
            f"pyfast: building needs a C++17 compiler and found no `{compiler}`. Install one "
            "(Debian: `apt-get install g++`) or name one in CXX."
        )


def torch_folder() -> Path:
    """Where torch is installed, found without the seconds that `import torch` takes."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            "pyfast: building needs torch. Install it first (`pip install torch`), then run "
            "`pip install --no-build-isolation .`"
        )
    folder = Path(spec.submodule_search_locations[0])
    version = re.search(r"__version__ = '([^']+)'", (folder / "version.py").read_text())
    found = version.group(1) if version else "unknown"
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST_TORCH:
        sys.exit(f"pyfast: needs torch 2.11 or newer, found {found}. Run `pip install -U torch`.")
    return folder


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        expect_tools()
        import pybind11

        kind = os.environ.get("PYFAST_BUILD_TYPE", "Release")
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"
        build = ROOT / "build" / f"{tag}-{kind.lower()}"
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        cuda = os.environ.get("PYFAST_CUDA", "1" if shutil.which("nvcc") else "0")
        settings = {
            "CMAKE_BUILD_TYPE": kind,
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": target.parent,
            "PYFAST_MODULE_NAME": target.name,
            "PYFAST_TORCH": torch_folder(),
            "PYFAST_CUDA": "OFF" if cuda.lower() in ("0", "off", "") else "ON",
            "PYFAST_CUDA_ARCHS": os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " "),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
        }
        command = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build)]
        command += [f"-D{key}={value}" for key, value in settings.items()]
        command += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        try:
            subprocess.run(command, check=True)
            subprocess.run(["cmake", "--build", str(build), "-j", jobs], check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"pyfast: the native build failed ({error}). The first error above says why; "
                "PYFAST_CUDA=0 leaves the CUDA kernels out, `rm -r build` starts afresh."
            )


setup(ext_modules=[Extension("pyfast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
