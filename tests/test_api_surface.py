"""Public names and their signatures, as `api_surface.json` has them.

A name that is meant to come, go or change is written down with `python tests/test_api_surface.py`.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

FILE = Path(__file__).with_name("api_surface.json")
MODULES = (
    "pyfast",
    "pyfast.compat",
    "pyfast.compat.pydensecrf.densecrf",
    "pyfast.compat.pydensecrf.eigen",
    "pyfast.compat.pydensecrf.utils",
    "pyfast.nn",
    "pyfast.ops",
    "pyfast.testing",
    "pyfast.train",
    "pyfast.zoo",
)


def signature(thing):
    if inspect.ismodule(thing):
        return "module"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return "exception"
    if not callable(thing):
        return type(thing).__name__
    try:
        found = inspect.signature(thing)
    except ValueError:  # native functions have none
        return "native function"
    empty = inspect.Signature.empty
    plain = [p.replace(annotation=empty) for p in found.parameters.values()]
    text = str(found.replace(parameters=plain, return_annotation=empty))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def surface():
    modules = {name: importlib.import_module(name) for name in MODULES}
    return {
        name: {public: signature(getattr(module, public)) for public in sorted(module.__all__)}
        for name, module in modules.items()
    }


def test_public_names_are_those_written_down():
    assert surface() == json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=2) + "\n")
