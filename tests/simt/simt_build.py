"""Compiles the C++ of the SIMT tests and keeps what it compiled under build/simt/."""

import fcntl
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CACHE = ROOT / "build" / "simt"
FLAGS = [
    "-std=c++20",
    "-g1",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-DPF_ISA=on_host",
    "-DPF_ENOUGH_THREADS=512",
]
FLAGS += [f"-I{ROOT / 'csrc'}", f"-I{HERE}"]
SANITIZED = "PYFAST_SIMT_SANITIZED" in os.environ  # set in a child that runs under ASan
PLAIN = ["-O2", "-U_FORTIFY_SOURCE"]  # which takes a jump to another stack for an error
CHECKED = [
    "-O1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fsanitize=float-cast-overflow",
    "-fno-sanitize-recover=all",
]


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "g++"))


def build(name: str, *, module: bool = False, sanitize: bool = False) -> Path:
    """Compiles `<name>.cpp` unless that was done already, and returns the result.

    module: a Python module rather than a program.
    sanitize: with ASan and UBSan.
    """
    source = HERE / f"{name}.cpp"
    command = [*compiler(), *FLAGS, *(CHECKED if sanitize else PLAIN)]
    if module:
        import pybind11

        for folder in (pybind11.get_include(), sysconfig.get_path("include")):
            command += ["-isystem", folder]
        command += ["-fPIC", "-shared", "-fvisibility=hidden"]
    listing = subprocess.run(
        [*command, "-MM", str(source)], check=True, capture_output=True, text=True
    ).stdout
    content = hashlib.sha256(shlex.join(command).encode())
    for path in sorted(listing.replace("\\\n", " ").split()[1:]):
        content.update(Path(path).read_bytes())
    flavour = "sanitized" if sanitize else "plain"
    folder = CACHE / f"{name}-{flavour}-{content.hexdigest()[:16]}"
    target = folder / (f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}" if module else name)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = folder / "unfinished"
            subprocess.run([*command, str(source), "-o", str(unfinished)], check=True)
            unfinished.rename(target)
    return target


def load(name: str, *, sanitize: bool = False) -> ModuleType:
    """Builds and imports a Python module."""
    path = build(name, module=True, sanitize=sanitize)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sanitizer_environment() -> dict[str, str]:
    """The environment in which Python can load a sanitized module.

    The C++ library is named too: ASan looks for its exceptions before the module brings it.
    """
    libraries = [
        subprocess.run(
            [*compiler(), f"-print-file-name={library}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for library in ("libasan.so", "libstdc++.so")
    ]
    return os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run_sanitized(name: str, files: list[Path], chosen: str) -> None:
    """Runs tests in a process in which `<name>.cpp` is compiled with the sanitizers.

    chosen: which, as for pytest's `-k`.
    """
    build(name, module=True, sanitize=True)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, files)]
        + ["-m", "not slow", "-k", chosen],
        env=sanitizer_environment() | {"PYFAST_SIMT_SANITIZED": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-6000:]


if __name__ == "__main__":
    print(build(sys.argv[1], module="--module" in sys.argv, sanitize="--sanitize" in sys.argv))
