"""Packages that only some parts need."""

from importlib import import_module
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """The module of an optional package; a missing one gives a sentence with the pip command."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f"pyfast needs {error.name} here, which is not installed: "
            f"run `pip install 'pyfast[{extra}]'`."
        ) from error
