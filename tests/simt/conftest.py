from collections.abc import Iterator
from types import ModuleType

import pytest
from simt_build import SANITIZED, load


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.module.KERNELS, sanitize=SANITIZED)


@pytest.fixture
def kernels(loaded: ModuleType) -> Iterator[ModuleType]:
    """The module that a test file names in KERNELS, in forward order and with counters at 0."""
    loaded.set_schedule("forward")
    loaded.take_counters()
    yield loaded
    loaded.set_schedule("forward")
