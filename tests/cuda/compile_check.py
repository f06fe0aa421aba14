"""Compiles the CUDA kernels for the oldest and the newest GPU of a release; lists what they use.

    python tests/cuda/compile_check.py

Fails where a kernel does not compile, gives a warning or spills registers. The table of registers,
stack, spills and shared memory is printed and kept in build/cuda/kernels.txt. Without nvcc there is
nothing to check.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CSRC = ROOT / "csrc"
TABLE = ROOT / "build" / "cuda" / "kernels.txt"
ARCHITECTURES = ["75", "120"]
FLAGS = ["-std=c++17", "-O3", f"-I{CSRC}", "-DPF_ISA=cuda", "-Xptxas=-v"]


@dataclass(frozen=True, order=True)
class Kernel:
    name: str
    architecture: str
    registers: int
    stack: int
    spilled: int
    shared: int


def nvcc(source: Path, architecture: str, out: Path) -> str:
    """What the compiler says; ends the program where it fails."""
    target = f"arch=compute_{architecture},code=sm_{architecture}"
    command = ["nvcc", *FLAGS, "-gencode", target, "-cubin", str(source), "-o", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0 or "warning" in done.stdout:
        sys.exit(f"{done.stdout}\ncompile_check: {source.relative_to(ROOT)} for sm_{architecture}")
    return done.stdout


def readable(names: list[str]) -> list[str]:
    """Demangled, without what every kernel of ours has in its name."""
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None or not names:
        return names
    plain = subprocess.run([tool, *names], check=True, capture_output=True, text=True).stdout
    shorten = re.compile(r"\bvoid |\bpyfast::|\bcuda::|\(int\)|\(bool\)|\([^()]*\)$")
    return [shorten.sub("", line) for line in plain.splitlines()]


def kernels(report: str, architecture: str) -> list[Kernel]:
    """The kernels that ptxas reports on."""
    mangled, numbers = [], []
    for part in report.split("Compiling entry function '")[1:]:

        def number(pattern: str, part: str = part) -> int:
            return sum(int(found) for found in re.findall(pattern, part))

        mangled.append(part.split("'")[0])
        numbers.append(
            (
                number(r"Used (\d+) registers"),
                number(r"(\d+) bytes stack frame"),
                number(r"(\d+) bytes spill (?:stores|loads)"),
                number(r"(\d+) bytes smem"),
            )
        )
    return [
        Kernel(name, architecture, *values)
        for name, values in zip(readable(mangled), numbers, strict=True)
    ]


def main() -> None:
    if shutil.which("nvcc") is None:
        print("compile_check: no nvcc on PATH, nothing to check")
        return
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    found: list[Kernel] = []
    for source in sorted(CSRC.rglob("*.cu")):
        for architecture in ARCHITECTURES:
            report = nvcc(source, architecture, TABLE.parent / f"{source.stem}.cubin")
            found += kernels(report, architecture)
    lines = ["registers  stack  spilled  shared  sm   kernel"] + [
        f"{k.registers:9}  {k.stack:5}  {k.spilled:7}  {k.shared:6}  {k.architecture:3}  {k.name}"
        for k in sorted(found)
    ]
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if not found:
        sys.exit("compile_check: found no kernel in what ptxas reports")
    spilling = [f"{k.name} on sm_{k.architecture}" for k in found if k.spilled]
    if spilling:
        sys.exit("compile_check: registers are spilled by " + ", ".join(spilling))


if __name__ == "__main__":
    main()
