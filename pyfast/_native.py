"""Loads the native module `pyfast._C`, or says in one sentence what to do about it.

Everything that needs the native module takes it from here: `from pyfast._native import _C`.
"""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OLDEST_TORCH = (2, 11)


def _torch_version() -> str | None:
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _is_too_old(torch_version: str) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", torch_version)[:2])
    return numbers < OLDEST_TORCH


def _advice(error: BaseException) -> str:
    """What a user can do about `error`, raised while torch or the native module was loaded."""
    wanted = ".".join(map(str, OLDEST_TORCH))
    found = _torch_version()
    if found is None:
        return f"pyfast needs torch {wanted} or newer and found none: run `pip install torch`."
    if _is_too_old(found):
        return (
            f"pyfast needs torch {wanted} or newer and found {found}: run `pip install -U torch`."
        )
    if "torch" not in sys.modules:
        return f"pyfast found torch {found}, but it does not load ({error}): reinstall torch."
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    rebuild = "run `pip install --no-build-isolation -e .` in the source folder of pyfast"
    if not list(Path(__file__).parent.glob("_C.*so")):
        return f"The native module of pyfast is not built for {python}: {rebuild}."
    return (
        f"The native module of pyfast does not load under {python} and torch {found} ({error}): "
        f"{rebuild} to build it anew; `python -m pyfast.env` shows what is installed."
    )


try:
    import torch  # noqa: F401  (the native module is linked to its libraries)

    from pyfast import _C
except (ImportError, OSError) as error:
    raise ImportError(_advice(error)) from error

_wanted = os.environ.get("PYFAST_CPU_CAPABILITY")
if _wanted is not None and _wanted not in _C.cpu_capabilities():
    raise ImportError(
        f"PYFAST_CPU_CAPABILITY: expected one of {', '.join(_C.cpu_capabilities())}, as this "
        f"processor and build have, got {_wanted!r}."
    )

_wanted = os.environ.get("PYFAST_GATHERS")
if _wanted not in (None, "0", "1"):
    raise ImportError(f"PYFAST_GATHERS: expected 0 or 1, got {_wanted!r}.")

if hasattr(os, "register_at_fork"):
    # torch's threads do not survive a fork: without this, the first kernel in a child hangs.
    os.register_at_fork(after_in_child=_C.after_fork)

__all__ = ["OLDEST_TORCH", "_C"]
