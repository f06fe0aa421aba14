"""compat.install: unedited imports find pyfast's packages, until it is taken back."""

import subprocess
import sys

import pytest

from pyfast import compat

REAL = """
# Stands in for the package of this name.
VERSION = "the other one"
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A package called pydensecrf, from elsewhere, on the path."""
    package = tmp_path / "pydensecrf"
    package.mkdir()
    for module in ("__init__", "utils", "inference_only"):
        (package / f"{module}.py").write_text(REAL)
    monkeypatch.syspath_prepend(tmp_path)
    before = {name for name in sys.modules if name.partition(".")[0] == "pydensecrf"}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydensecrf"]:
        del sys.modules[name]


def test_imports_find_ours_and_then_the_other_again(other):
    import pydensecrf.utils as before

    with compat.install("pydensecrf"):
        import pydensecrf
        import pydensecrf.utils as ours
        from pydensecrf import utils
        from pydensecrf.utils import unary_from_labels

        assert pydensecrf.__name__ == "pyfast.compat.pydensecrf"
        assert ours.__name__ == "pyfast.compat.pydensecrf.utils"
        assert utils.unary_from_labels is unary_from_labels
        with pytest.raises(ModuleNotFoundError, match=r"pydensecrf\.inference_only"):
            import pydensecrf.inference_only

    import pydensecrf.utils as after

    assert after is before
    assert after.VERSION == "the other one"
    import pydensecrf.inference_only


def test_our_modules_are_the_same_under_both_names(other):
    with compat.install("pydensecrf"):
        import pydensecrf.eigen as one

    import pyfast.compat.pydensecrf.eigen as other_name

    assert one is other_name
    assert one.__spec__.name == "pyfast.compat.pydensecrf.eigen"


def test_installing_twice_is_installing_once(other):
    first = compat.install("pydensecrf")
    assert compat.install("pydensecrf") is first
    first.undo()
    first.undo()
    import pydensecrf

    assert pydensecrf.VERSION == "the other one"


@pytest.mark.parametrize("name", ["pydensecrf2", "", None, "numpy"])
def test_unknown_package(name):
    with pytest.raises(ValueError, match=r"compat\.install: expected name to be one of pydensecrf"):
        compat.install(name)


def test_nearest_name_is_offered():
    with pytest.raises(ValueError, match="did you mean 'pydensecrf'"):
        compat.install("pydensecfr")


def test_nothing_is_imported_before_it_is_used():
    script = """
import sys
import pyfast
pyfast.compat.install("pydensecrf")
assert not [name for name in sys.modules if "pydensecrf" in name]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
