"""The machine under the benchmark: how its process is set up, what it is, what it could do."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Floor, Machine, Settings

# glibc maps buffers above 32 MB afresh on every call, and their page faults then cost more than the
# work (15 ms for 33 MB). Kept memory times the kernels. glibc reads this when a process starts.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
# What keeps each library from instruction sets above the one that was asked for.
CAPABILITIES = {
    "baseline": {"ATEN_CPU_CAPABILITY": "default", "OPENCV_CPU_DISABLE": "AVX2,FP16,AVX512-SKX"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "OPENCV_CPU_DISABLE": "AVX512-SKX"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
}
# Virtual machines hide the model's name but not its family.
AMD_FAMILIES = {23: "zen2", 25: "zen3", 26: "zen5"}
PEERS = ("onnxruntime", "pydensecrf2", "pymatting")  # packages that benchmarks compare with
COPY_SIZES = [2**power for power in range(18, 29, 2)]


def environment(threads: int, capability: str | None) -> dict[str, str]:
    """Variables that must be there before the process starts."""
    count = str(threads)
    wanted = ALLOCATOR | {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    if capability:
        wanted |= {"PYFAST_CPU_CAPABILITY": capability} | CAPABILITIES[capability]
    return wanted


def describe(device: str) -> Machine:
    import torch

    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    cpu = cpu_facts()
    return Machine(
        name=slug(gpu) if gpu else cpu_slug(cpu),
        cpu=cpu.get("model name", platform.machine()),
        cpus=os.cpu_count() or 1,
        gpu=gpu,
        cuda=torch.version.cuda if gpu else None,
        python=platform.python_version(),
        torch=torch.__version__,
        opencv=opencv_version(),
        allocator={key: os.environ.get(key, "") for key in ALLOCATOR},
        libraries={name: found for name in PEERS if (found := version_of(name))},
    )


def settings(device: str, threads: int, rounds: int) -> Settings:
    import torch

    from pyfast._native import _C

    return Settings(
        device=device,
        threads=threads,
        rounds=rounds,
        capability=_C.cpu_capability(),
        torch_capability=torch.backends.cpu.get_cpu_capability(),
        default_capability="PYFAST_CPU_CAPABILITY" not in os.environ,
    )


def opencv_version() -> str | None:
    try:
        import cv2
    except ImportError:
        return None
    return cv2.__version__


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def cpu_slug(facts: dict[str, str]) -> str:
    model = re.sub(r"\(R\)|\(TM\)|@.*|\bCPU\b|\bProcessor\b", " ", facts.get("model name", ""))
    flags = facts.get("flags", "").split()
    parts = [slug(model) or platform.machine()]
    if facts.get("vendor_id") == "AuthenticAMD":
        generation = AMD_FAMILIES.get(int(facts["cpu family"]))
        # Families 25 and 23 hold two generations each; AVX-512 came with the later of 25.
        parts += ["zen4" if generation == "zen3" and "avx512f" in flags else generation or "amd"]
    unit = "vcpu" if "hypervisor" in flags else "cpu"
    return "-".join([*parts, f"{os.cpu_count()}{unit}"])


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def commit() -> str:
    """Short commit of the tree, with "+" where files that are tracked have changed since."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()

    try:
        changed = git("status", "--porcelain", "-uno", ":/csrc", ":/pyfast", ":/benchmarks/ops")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure_floor(device: str) -> Floor:
    """Copy bandwidth by size, and the rate of a float32 matrix product, each the best of several.

    Both come from torch: its copy is memory-bound at every size, and its matrix product is the
    closest that library code gets to the peak of the FMA units (about nine tenths).
    """
    import torch

    from benchmarks.common import device_seconds

    def best(call: Callable[[], Any]) -> float:
        if device == "cuda":
            return device_seconds(call, rounds=20).low
        call()
        start = time.perf_counter()
        call()
        # At least a millisecond a timing, or the clock would be in it.
        calls = max(1, round(1e-3 / max(time.perf_counter() - start, 1e-6)))
        times = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - start) / calls)
        return min(times)

    # A GPU is timed with cold caches, so one size beyond them says it all.
    copy = []
    for size in [2**31] if device == "cuda" else COPY_SIZES:
        source = torch.ones(size // 8, device=device)
        target = torch.ones_like(source)
        copy.append([float(size), size / best(partial(target.copy_, source))])
    n = 8192 if device == "cuda" else 768
    matrix = torch.rand(n, n, device=device)
    product = torch.empty_like(matrix)
    return Floor(copy=copy, flops=2 * n**3 / best(partial(torch.mm, matrix, matrix, out=product)))


def floor_seconds(floor: Floor, size: int, flops: int) -> float:
    """The least time for moving `size` bytes and doing `flops`, if they overlap perfectly."""
    sizes, rates = zip(*floor.copy, strict=True)
    bandwidth = float(np.interp(np.log(max(size, 1)), np.log(sizes), rates))
    return max(size / bandwidth, flops / floor.flops)
