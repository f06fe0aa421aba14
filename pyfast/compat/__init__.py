"""Other people's interfaces over the operators of pyfast.

Each package here has the modules, names and signatures of the package that it is called after, so
that one import changes and nothing else:

    import pyfast.compat.pydensecrf.densecrf as dcrf      # was: import pydensecrf.densecrf as dcrf

`install` is for code that cannot be edited. To add a package, name it in `PACKAGES`.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

__all__ = ["PACKAGES", "Installation", "install"]

PACKAGES = ("pydensecrf", "pymatting")


class Installation(MetaPathFinder, Loader):
    """What `install` did. It is a context manager, and `undo` takes it back."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Modules of the other package, which may have been imported before: for the way back.
        self._replaced = self._forget()
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        """Imports find again what they found before; whoever holds a module of ours keeps it."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._forget()
            sys.modules.update(self._replaced)

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *error: object) -> None:
        self.undo()

    def _holds(self, module: str) -> bool:
        return module == self.name or module.startswith(f"{self.name}.")

    def _forget(self) -> dict[str, ModuleType]:
        """Takes the package and its submodules out of `sys.modules`; returns them."""
        return {name: sys.modules.pop(name) for name in [*sys.modules] if self._holds(name)}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Part of the import system: whether there is a module of ours for `fullname`."""
        if not self._holds(fullname) or find_spec(f"{__name__}.{fullname}") is None:
            return None
        return spec_from_loader(fullname, self, is_package=fullname == self.name)

    def exec_module(self, module: ModuleType) -> None:
        """Part of the import system: puts our module in the place of the new one."""
        fullname = module.__name__
        sys.modules[fullname] = import_module(f"{__name__}.{fullname}")


def install(name: str) -> Installation:
    """Lets `import <name>` find pyfast's package instead of the one that it is called after.

    For code that cannot be edited: call it before that code is imported. It concerns this process
    alone, also where the other package is installed or has been imported; whoever holds a module
    of that already keeps it. Nothing of ours is imported before somebody asks for it.

    Args:
        name: one of `PACKAGES`.

    Returns:
        What takes it back: its method `undo`, or the end of a `with`. Installing what is installed
        changes nothing and returns the same.

    Raises:
        ValueError: there is no such package.

    >>> import pyfast
    >>> with pyfast.compat.install("pydensecrf"):
    ...     import pydensecrf.utils as utils
    >>> utils.__name__
    'pyfast.compat.pydensecrf.utils'
    """
    if name not in PACKAGES:
        near = get_close_matches(name, PACKAGES) if isinstance(name, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"compat.install: expected name to be one of {', '.join(PACKAGES)}, got {name!r}{hint}"
        )
    for finder in sys.meta_path:
        if isinstance(finder, Installation) and finder.name == name:
            return finder
    return Installation(name)
