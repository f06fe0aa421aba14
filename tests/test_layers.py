"""Which C++ source may include what: the layers that CONTRIBUTING.md describes."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
SOURCES = sorted(str(p.relative_to(CSRC)) for p in CSRC.rglob("*") if p.suffix in (".h", ".cpp"))
KERNELS = sorted(
    str(p.relative_to(CSRC))
    for pattern in ("*_cpu.cpp", "*_math.h", "*.cuh", "*.cu")
    for p in CSRC.rglob(f"ops/*/{pattern}")
)
# Headers without a container or an algorithm whose AVX-512 copy the linker could keep.
PLAIN = {"cmath", "cstdint", "cstring", "limits", "type_traits"}


def includes(source: str) -> set[str]:
    found = re.findall(r'^\s*#include [<"](.+)[>"]', (CSRC / source).read_text(), re.MULTILINE)
    return set(found)


def all_includes(source: str) -> set[str]:
    """Those of `source` and of our own headers that it includes."""
    seen: set[str] = set()
    waiting = includes(source)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting |= includes(name) if (CSRC / name).exists() else set()
    return seen


def test_there_are_kernels() -> None:
    assert {"ops/sampling/sampling_cpu.cpp", "ops/sampling/sampling.cu"} <= set(KERNELS)


@pytest.mark.parametrize("source", KERNELS)
def test_kernels_know_their_own_family_only(source: str) -> None:
    family = str(Path(source).parent)
    for name in all_includes(source):
        own = name.startswith(family + "/") or name == "core/device.h"
        assert own or name in PLAIN or name == "cuda_runtime.h", f"{source} reaches <{name}>"


@pytest.mark.parametrize("source", SOURCES)
def test_one_way_to_torch_and_one_to_python(source: str) -> None:
    direct = {name.partition("/")[0] for name in includes(source)}
    assert ("torch" in direct) == (source == "core/torch_glue.h")
    assert ("pybind11" in direct) == (source == "core/python_glue.h")
    if "core/torch_glue.h" in all_includes(source):
        assert source.endswith("_torch.cpp")
    if "core/python_glue.h" in all_includes(source):
        assert source == "bindings.cpp"
