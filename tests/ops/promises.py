"""What the tables of cases have in common: one test for every promise of every case."""

import pytest

from pyfast.testing import check_op


def never(case, promise):
    return False


def compiles_with_inductor(case, promise):
    """What takes seconds to a minute."""
    return promise == "compile" and case.inductor


def every(checks, is_slow=never):
    """Parametrises a test by (case, promise, device); marks those that are slow."""
    return pytest.mark.parametrize(
        ("case", "promise", "device"),
        [
            pytest.param(
                case,
                promise,
                device,
                id=f"{case}-{promise}-{device}",
                marks=pytest.mark.slow if is_slow(case, promise) else (),
            )
            for case, promise, device in checks
        ],
    )


def keep(case, promise, device):
    """Fails where a promise is broken; skips where it is not made, with the reason."""
    verdict = check_op(case, only=[promise], device=device)[promise]
    if verdict != "kept":
        pytest.skip(verdict)
