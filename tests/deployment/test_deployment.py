"""Ways out of Python: torch.export, a package of AOTInductor, a C++ program."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import pyfast

HERE = Path(__file__).parent
TORCH = Path(torch.__file__).parent


class Warp(torch.nn.Module):
    def forward(self, image, theta):
        return pyfast.affine_grid_sample(image, theta, (6, 7), padding_mode="border")


def arguments():
    torch.manual_seed(0)
    return torch.rand(2, 3, 8, 9), torch.randn(2, 2, 3)


def in_another_process(code, *words):
    """Runs `code` with this tree's package, and shows what it says when it fails."""
    root = str(Path(pyfast.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_an_exported_program_is_saved_and_loaded(tmp_path):
    exported = torch.export.export(Warp(), arguments())
    torch.export.save(exported, tmp_path / "warp.pt2")
    torch.save((arguments(), Warp()(*arguments())), tmp_path / "expected.pt")
    code = """
import sys, torch, pyfast
program = torch.export.load(sys.argv[1]).module()
arguments, expected = torch.load(sys.argv[2])
torch.testing.assert_close(program(*arguments), expected)
"""
    in_another_process(code, tmp_path / "warp.pt2", tmp_path / "expected.pt")


@pytest.mark.slow
def test_a_package_of_aot_inductor_runs(tmp_path):
    exported = torch.export.export(Warp(), arguments())
    package = torch._inductor.aoti_compile_and_package(
        exported, package_path=str(tmp_path / "warp.pt2")
    )
    program = torch._inductor.aoti_load_package(package)
    assert_close(program(*arguments()), Warp()(*arguments()))


def test_a_program_in_cpp_loads_the_operators(tmp_path):
    """The library is the target `pyfast_operators` of the build folder."""
    # Not the sanitized build, whose library only loads after the sanitizers' own.
    builds = (HERE.parent.parent / "build").glob("*[!d]/build.ninja")
    build = max(builds, key=lambda file: file.stat().st_mtime, default=None)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if build is None or not shutil.which("cmake") or not shutil.which(compiler[0]):
        pytest.skip("there is no build folder, cmake or C++ compiler here")
    target = ["--target", "pyfast_operators"]
    subprocess.run(["cmake", "--build", str(build.parent), *target], check=True)
    flags = [f"-I{TORCH}/include", "-std=c++17", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
    library = TORCH / "lib"
    links = [f"-L{library}", f"-Wl,-rpath,{library}", "-ltorch_cpu", "-lc10", "-ldl"]
    program = tmp_path / "warp"
    subprocess.run([*compiler, *flags, HERE / "warp.cpp", "-o", program, *links], check=True)
    done = subprocess.run(
        [program, build.parent / "libpyfast_operators.so"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["6", "5", "4", "3", "2", "1"]
