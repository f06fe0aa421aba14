"""The dense CRF against pydensecrf where a call takes seconds: many labels, large pictures."""

from collections.abc import Callable

import pytest

from benchmarks.common import Case
from benchmarks.ops.bench_dense_crf import LARGE, whole_cases


@pytest.mark.parametrize("case", whole_cases(LARGE), ids=str)
def bench_dense_crf_large(case: Case, compare: Callable[[Case], None]) -> None:
    compare(case)
