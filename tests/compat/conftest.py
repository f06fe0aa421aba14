"""The package that compat.pydensecrf is compared with, where it is installed."""

from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def original():
    """pydensecrf itself: its modules, as they are without compat.install."""
    reason = "pydensecrf is not installed (pip install pydensecrf2, up to Python 3.12)"
    return SimpleNamespace(
        **{
            name: pytest.importorskip(f"pydensecrf.{name}", reason=reason)
            for name in ("densecrf", "utils", "eigen")
        }
    )
