"""The shim that runs CUDA kernels on the host, tested by kernels that are right or broken."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from simt_build import build

SCHEDULES = ["forward", "reverse", "random"]


@pytest.fixture(scope="module")
def program() -> Path:
    return build("simt_selftest")


@pytest.fixture(scope="module")
def sanitized_program() -> Path:
    return build("simt_selftest", sanitize=True)


def run(
    program: Path, case: str, schedule: str = "forward", *sizes: int, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, case, schedule, "7", *map(str, sizes)],
        input=data,
        capture_output=True,
        env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"},
        timeout=60,
    )


def run_product(
    program: Path, case: str, schedule: str, m: int, k: int, n: int
) -> tuple[np.ndarray, np.ndarray, float, list[int]]:
    """Expected product, computed product, sum of the latter, counters."""
    random = np.random.default_rng(0)
    a = random.standard_normal((m, k), dtype=np.float32)
    b = random.standard_normal((k, n), dtype=np.float32)
    result = run(program, case, schedule, m, k, n, data=a.tobytes() + b.tobytes())
    assert result.returncode == 0, result.stderr.decode()
    c = np.frombuffer(result.stdout, np.float32, m * n).reshape(m, n)
    total = np.frombuffer(result.stdout, np.float64, 1, offset=c.nbytes)[0]
    counters = np.frombuffer(result.stdout, np.int64, 4, offset=c.nbytes + 8)
    return a @ b, c, float(total), counters.tolist()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("flavour", ["program", "sanitized_program"])
def test_product_agrees_with_numpy(
    flavour: str, schedule: str, request: pytest.FixtureRequest
) -> None:
    m, k, n = 19, 21, 16
    expected, c, total, counters = run_product(
        request.getfixturevalue(flavour), "product", schedule, m, k, n
    )
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-5)
    assert total == pytest.approx(expected.sum(dtype=np.float64), abs=1e-3)
    blocks, steps = 3 * 2, 3
    launches, block_barriers, warp_barriers, atomics = counters
    assert launches == 1
    assert block_barriers == blocks * (2 * steps + 1)
    assert warp_barriers == blocks * 2 * 5  # two warps, five shuffles
    assert atomics == blocks


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_removed_barrier_shows(program: Path, schedule: str) -> None:
    expected, c, _, _ = run_product(program, "missing_barrier", schedule, 19, 21, 16)
    assert not np.allclose(c, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("flavour", ["program", "sanitized_program"])
def test_warp_operations(flavour: str, schedule: str, request: pytest.FixtureRequest) -> None:
    result = run(request.getfixturevalue(flavour), "warp_operations", schedule)
    assert result.returncode == 0, result.stderr.decode()
    integers = np.frombuffer(result.stdout, np.int32, 36 * 12 + 4)
    for thread, found in enumerate(integers[: 36 * 12].reshape(36, 12).tolist()):
        first = thread // 32 * 32  # of its warp
        warp = range(first, min(first + 32, 36))

        def bits(lanes: list[int], first: int = first) -> int:
            return int(np.array(sum(1 << (t - first) for t in lanes), np.uint32).view(np.int32))

        start = thread // 4 * 4  # of its group of four
        assert found == [
            first + 3,
            start + 1,
            max(thread - 1, first),
            thread + 2 if thread + 2 < start + 4 else thread,
            thread ^ 1,
            bits([t for t in warp if t % 3 == 0]),
            int(first == 32),
            int(first == 0),
            bits([t for t in warp if t % 4 == thread % 4]),
            bits([t for t in warp if t % 2]) if thread % 2 else 0,
            (thread & -thread).bit_length() * 100 + bin(thread).count("1"),
            integers[0],
        ]
    assert integers[36 * 12] == 35  # atomicMax
    assert integers[36 * 12 + 2 :].view(np.int64)[0] == 1 << 40  # atomicCAS
    counters = np.frombuffer(result.stdout, np.int64, 4, offset=integers.nbytes).tolist()
    assert counters == [1, 1, 2 * 9, 2 * 36]


def test_dynamic_shared_memory_starts_as_nan(program: Path) -> None:
    result = run(program, "unset_shared")
    assert np.isnan(np.frombuffer(result.stdout, np.float32, 64)).all()


def test_empty_grid_is_an_error(program: Path) -> None:
    assert run(program, "empty_grid").returncode == 0


@pytest.mark.parametrize("case", ["read_beyond", "beyond_shared"])
def test_sanitizer_sees_out_of_bounds(sanitized_program: Path, case: str) -> None:
    result = run(sanitized_program, case)
    assert result.returncode != 0
    assert b"heap-buffer-overflow" in result.stderr
    assert case.encode() in result.stderr  # names the kernel
    assert b"simt_selftest.cpp" in result.stderr


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("divergent_barrier", [b"block barrier", b"threads 0 1 2 ", b"threads 40 41 "]),
        ("absent_lanes", [b"warp barrier", b"threads 0 1 2 ", b"block barrier", b"threads 8 9 "]),
        ("without_itself", [b"a mask without its own thread", b"00000001"]),
    ],
)
def test_threads_that_can_never_go_on(
    program: Path, schedule: str, case: str, words: list[bytes]
) -> None:
    result = run(program, case, schedule)
    assert result.returncode < 0, "must abort"
    for word in [*words, b"block (0, 0, 0)", b"simt_selftest.cpp:"]:
        assert word in result.stderr, result.stderr.decode()
