"""What pyfast runs on, for bug reports: `python -m pyfast.env [--json]`.

Standard library first and every probe guarded: the report comes also where torch is missing or
the native module does not load, and says so.
"""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Facts = dict[str, object]

PACKAGES = ("numpy", "scipy", "pillow", "safetensors", "scikit-learn", "scikit-image", "typer")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD")
VARIABLE_PREFIXES = ("PYFAST_", "ATEN_", "TORCH_", "PYTORCH_")
LIBRARIES = ("libgomp", "libcudart")


def _python() -> Facts:
    return {"version": platform.python_version(), "executable": sys.executable}


def _machine() -> Facts:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cpus": os.cpu_count(),
        "cpus usable": len(affinity(0)) if affinity else None,
    }


def processor_name() -> str:
    """The processor as its maker calls it, or at least its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named.group(1) if named else platform.processor() or platform.machine()


def _pyfast() -> Facts:
    import pyfast

    return {"version": pyfast.__version__, "folder": str(Path(pyfast.__file__).parent)}


def _native_module() -> Facts:
    from pyfast._native import _C

    return {
        "file": _C.__file__,
        "CPU capability": _C.cpu_capability(),
        "CPU capabilities": _C.cpu_capabilities(),
        "CUDA kernels": _C.with_cuda,
        "CUDA architectures": _C.cuda_archs,
    }


def _torch() -> Facts:
    import torch

    return {
        "version": torch.__version__,
        "CUDA build": torch.version.cuda,
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _gpus() -> Facts:
    import torch

    if not torch.cuda.is_available():
        return {}
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        f"cuda:{index}": f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, "
        f"compute capability {gpu.major}.{gpu.minor}"
        for index, gpu in enumerate(properties)
    }


def _packages() -> Facts:
    def found(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: found(name) for name in PACKAGES}


def _loaded_libraries() -> Facts:
    """The runtime libraries in this process: two of a kind explain many a puzzle."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return {
        name: sorted(path for path in mapped if Path(path).name.startswith(name))
        for name in LIBRARIES
    }


def _variables() -> Facts:
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in VARIABLES or name.startswith(VARIABLE_PREFIXES)
    }


# In this order: torch and the native module have to be loaded before the libraries are listed.
SECTIONS: dict[str, Callable[[], Facts]] = {
    "pyfast": _pyfast,
    "python": _python,
    "machine": _machine,
    "torch": _torch,
    "native module": _native_module,
    "GPUs": _gpus,
    "packages": _packages,
    "loaded libraries": _loaded_libraries,
    "environment variables": _variables,
}


def report() -> dict[str, Facts]:
    """All facts by section; a section whose probe failed holds the error's text."""

    def guarded(probe: Callable[[], Facts]) -> Facts:
        try:
            return probe()
        except Exception as error:
            return {"error": str(error) or type(error).__name__}

    return {name: guarded(probe) for name, probe in SECTIONS.items()}


def render(facts: dict[str, Facts]) -> str:
    """The report as text for people."""

    def show(value: object) -> str:
        if isinstance(value, list):
            return ", ".join(map(str, value)) or "none"
        return "none" if value in (None, "") else str(value)

    lines = []
    for section, entries in facts.items():
        lines.append(section)
        lines += [f"  {name:20} {show(value)}" for name, value in entries.items()] or ["  none"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command `python -m pyfast.env`."""
    parser = argparse.ArgumentParser(prog="python -m pyfast.env", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    as_json = parser.parse_args(arguments).json
    facts = report()
    print(json.dumps(facts, indent=2) if as_json else render(facts))


if __name__ == "__main__":
    main()
