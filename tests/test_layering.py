"""Who may include what, and what importing the package may do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyfast._native import _C

CSRC = Path(__file__).parent.parent / "csrc"
SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cuh", ".cpp", ".cu"})
# What a kernel may use: nothing of which the linker could keep a copy from another instruction set.
# Intrinsics are always inlined.
PLAIN_HEADERS = {
    "cfloat",
    "cmath",
    "cstddef",
    "cstdint",
    "cstring",
    "immintrin.h",
    "limits",
    "type_traits",
}
# What kernels share, and what of CUDA it includes.
CORE_HEADERS = {
    "core/block_sum.cuh": set(),
    "core/device.h": {"cuda_runtime.h"},
    "core/device_graph.cuh": set(),
    "core/device_memory.h": set(),
    "core/half.h": {"cuda_bf16.h", "cuda_fp16.h"},
    "core/packs.cuh": set(),
    "core/vectors.h": set(),
}
INSTANTIATED = (
    "vector|string|array|map|set|unordered_\\w+|function|tuple|pair|optional|unique_ptr|shared_ptr|"
    "min|max|clamp|minmax|sort|fill|fill_n|copy|copy_n|swap|accumulate|transform"
)

pytestmark = pytest.mark.skipif(not SOURCES, reason="the C++ sources are not here")


def includes(path):
    """(own, of others): what a file includes as "x" and as <x>."""
    text = path.read_text()
    return (
        re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE),
        re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.MULTILINE),
    )


def reached(path):
    """The files of ours that a source is compiled from, itself included."""
    found, todo = set(), [path]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [CSRC / name for name in includes(path)[0]]
    return found


def name(path):
    return path.relative_to(CSRC).as_posix()


KERNELS = [p for p in SOURCES if p.name.endswith(("_cpu.cpp", ".cu"))]
DRIVERS = [p for p in SOURCES if p.name.endswith("_driver.cpp")]


def test_the_layers_are_found():
    assert {p.parent.name for p in KERNELS} >= {"sampling"}
    assert DRIVERS


@pytest.mark.parametrize("source", KERNELS, ids=name)
def test_a_kernel_is_made_of_its_family_and_plain_headers(source):
    for path in reached(source):
        assert name(path) in CORE_HEADERS or path.parent == source.parent, name(path)
        extra = CORE_HEADERS.get(name(path), set())
        assert set(includes(path)[1]) <= PLAIN_HEADERS | extra, name(path)


@pytest.mark.parametrize("source", KERNELS, ids=name)
def test_a_kernel_instantiates_nothing_of_the_standard_library(source):
    for path in reached(source):
        assert not re.findall(rf"\bstd::(?:{INSTANTIATED})\b", path.read_text()), name(path)


@pytest.mark.parametrize("source", DRIVERS, ids=name)
def test_a_driver_knows_neither_torch_nor_python(source):
    for path in reached(source):
        foreign = [i for i in includes(path)[1] if "/" in i or i.endswith(".h")]
        assert set(foreign) <= CORE_HEADERS.get(name(path), set()), name(path)


def test_torch_is_included_in_one_place():
    users = {
        name(p)
        for p in SOURCES
        if any(i.startswith(("torch/", "ATen/", "c10/")) for i in includes(p)[1])
    }
    assert users == {"core/torch_glue.h"}


def test_pybind11_reaches_the_bindings_alone():
    users = {name(p) for p in SOURCES if any(i.startswith("pybind11/") for i in includes(p)[1])}
    assert users <= {"bindings.cpp", "core/python_glue.h"}
    sources = [p for p in SOURCES if p.suffix in {".cpp", ".cu"}]
    assert [name(p) for p in sources if CSRC / "core/python_glue.h" in reached(p)] == [
        "bindings.cpp"
    ]


def test_a_family_includes_no_other_family():
    for path in (CSRC / "ops").rglob("*.*"):
        for included in includes(path)[0]:
            if included.startswith("ops/"):
                assert included.split("/")[1] == path.parent.name, name(path)


def test_the_native_module_finds_the_stream_of_torch():
    """Linked wrongly, the weak symbol is null under a torch with CUDA too."""
    assert _C.torch_has_cuda_shim() == (torch.version.cuda is not None)


def test_importing_changes_nothing_and_loads_nothing_heavy():
    script = """
import os, signal, sys, warnings
import torch, torch.nn.functional as F

def state():
    return (
        [vars(F)[n] for n in sorted(vars(F)) if callable(vars(F)[n])],
        [vars(torch)[n] for n in ("conv2d", "grid_sampler", "affine_grid_generator")],
        torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        torch.initial_seed(), torch.get_rng_state().tolist(),
        torch.backends.mkldnn.enabled, torch.backends.cudnn.benchmark,
        list(warnings.filters), dict(os.environ), signal.getsignal(signal.SIGINT), list(sys.path),
    )

before = state()
import pyfast
assert state() == before, "importing pyfast changed something"
heavy = "sklearn skimage matplotlib scipy cv2 typer rich pandas torch._dynamo torch._inductor"
loaded = [name for name in heavy.split() if name in sys.modules]
assert not loaded, loaded
"""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout == ""
    assert child.stderr == ""
