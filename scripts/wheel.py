"""Builds the source archive and, from it, the wheel; then tries the wheel outside the tree.

    python scripts/wheel.py                          build into dist/ and try
    python scripts/wheel.py --try WHEEL TORCH...     try a built wheel under these torch versions

The wheel holds no library of torch: `_C` finds those of the torch that Python has imported, of any
version from 2.11 on, with and without CUDA.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TORCH_LIBRARIES = ["libtorch*", "libc10*"]
USE = """
import torch, pyfast
image = torch.rand(2, 3, 32, 48, requires_grad=True)
theta = torch.tensor([[[0.8, -0.3, 0.1], [0.2, 0.9, 0.0]]]).expand(2, 2, 3)
size = (2, 3, 24, 40)
out = pyfast.affine_grid_sample(image, theta, size)
grid = torch.nn.functional.affine_grid(theta, size, align_corners=False)
wanted = torch.nn.functional.grid_sample(image, grid, align_corners=False)
assert (out - wanted).abs().max() < 1e-4
out.sum().backward()
assert image.grad.abs().sum() > 0
from pyfast import zoo
assert zoo.from_pretrained("stn_cnn.tiny")(torch.rand(2, 1, 32, 32)).shape == (2, 10)
print(f"wheel: {pyfast.__file__} works under torch {torch.__version__}")
"""


def run(*command: object, cwd: Path = ROOT) -> None:
    if subprocess.run([str(part) for part in command], cwd=cwd).returncode != 0:
        sys.exit("wheel: this failed: " + " ".join(str(part) for part in command[:4]))


def build() -> Path:
    """dist/*.tar.gz and from it dist/*.whl, tagged for the oldest Linux that it runs on."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(
        sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir", DIST
    )
    (raw,) = DIST.glob("*.whl")
    excluded = [part for name in TORCH_LIBRARIES for part in ("--exclude", name)]
    run("auditwheel", "repair", *excluded, "--wheel-dir", DIST / "repaired", raw)
    raw.unlink()
    (repaired,) = (DIST / "repaired").glob("*.whl")
    wheel = repaired.rename(DIST / repaired.name)
    (DIST / "repaired").rmdir()
    return wheel


def inspect(wheel: Path) -> None:
    """The wheel holds one library, and that one knows no folder of the machine it was built on."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        (library,) = (name for name in archive.namelist() if ".so" in name)
        module = archive.extract(library, folder)
        dynamic = subprocess.run(
            ["readelf", "--dynamic", module], check=True, text=True, stdout=subprocess.PIPE
        ).stdout
    paths = [line.split("[")[1] for line in dynamic.splitlines() if "PATH)" in line]
    if paths != ["$ORIGIN/../torch/lib]"]:
        sys.exit(f"wheel: {library} looks for libraries in {paths}")
    print(f"wheel: {wheel.name}, {wheel.stat().st_size / 2**20:.1f} MiB", flush=True)


def use(wheel: Path, torch: str | None = None) -> None:
    """Installs into a new environment and runs an operator there.

    The environment gets the named torch, or looks through to the packages of this one.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if torch is None:
            packages = {"base": folder, "platbase": folder}
            site = sysconfig.get_path("purelib", scheme="venv", vars=packages)
            Path(site, "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
            run(*install, "--no-deps", "--ignore-installed", wheel)
        else:
            run(*install, f"torch=={torch}", wheel)
        run(python, "-c", USE, cwd=Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--try", dest="wheel", type=Path, help="a wheel that is built already")
    parser.add_argument("torch", nargs="*", help="torch versions to try that wheel under")
    asked = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    wheel = asked.wheel.resolve() if asked.wheel else build()
    inspect(wheel)
    for torch in asked.torch or [None]:
        use(wheel, torch)


if __name__ == "__main__":
    main()
