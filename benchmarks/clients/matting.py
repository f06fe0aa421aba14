"""Runs code that imports PyMatting, unedited, on pyfast's interface.

    python -m benchmarks.clients.matting PYMATTING [REMBG]

PYMATTING is a clone of pymatting/pymatting, bare or not, that holds the commit below: its tests and
examples run from a copy in a folder of their own. REMBG is a folder with the package rembg in it
(`pip install --no-deps --target REMBG rembg`): its matting runs on a photograph with a rough mask.
Nothing is fetched. Prints what passes.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from unittest.mock import MagicMock

REPOSITORY, COMMIT = "pymatting/pymatting", "35c41599769151842283cb6898631ae3843fc86c"
PARTS = ("tests", "examples", "data")
PATIENCE = 600  # seconds for one test file or example
# What these packages import and their matting does not use.
STAND_INS = ("onnxruntime", "pooch", "jsonschema", "cv2")

INSTALLED = "import pyfast, sys; pyfast.compat.install('pymatting')\n"
TESTS = INSTALLED + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
EXAMPLE = INSTALLED + "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"


def unpacked(clone: Path, folder: Path) -> None:
    """Tests, examples and data of the commit; not the package itself."""
    command = ["git", "-C", str(clone), "archive", COMMIT, *PARTS]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{clone}: no clone of {REPOSITORY} that holds {COMMIT}: {done.stderr.decode()}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def run(script: str, arguments: list[str], folder: Path) -> tuple[bool, str, float]:
    """Whether a script of ours ends well in `folder`, the last line of it, and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-c", script, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return False, f"not done after {PATIENCE} s", float(PATIENCE)
    seconds = time.perf_counter() - start
    lines = (done.stdout + done.stderr).strip().splitlines()
    reasons = [line for line in lines if line.startswith("E  ") or "Error: " in line]
    return done.returncode == 0, (reasons or lines or [""])[-1].lstrip("E ").strip(), seconds


def pymatting(clone: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpacked(clone, folder)
        print(f"{REPOSITORY} {COMMIT[:10]}")
        found = sorted(folder.glob("tests/test_*.py")) + sorted(folder.glob("examples/*.py"))
        passed = 0
        for path in found:
            if path.parent.name == "tests":
                arguments = ["-q", "-p", "no:cacheprovider", str(path.relative_to(folder))]
                ok, last, seconds = run(TESTS, arguments, folder)
            else:
                ok, last, seconds = run(EXAMPLE, [path.name], path.parent)
            passed += ok
            said = "passes" if ok else f"fails: {last}"
            print(f"  {path.relative_to(folder)}: {said} ({seconds:.1f} s)")
        print(f"  {passed} of {len(found)} pass")


def rembg(folder: Path) -> None:
    """The path of rembg's option `alpha_matting`, on a photograph of known alpha."""
    import numpy as np
    from PIL import Image

    from pyfast import compat
    from pyfast.data import matte_errors, matte_scene, to_picture

    version = next(
        (d.version for d in distributions(path=[str(folder)]) if d.metadata["Name"] == "rembg"), "?"
    )
    print(f"rembg {version}, rembg.bg.alpha_matting_cutout")
    scene = matte_scene(300, 400)
    image = to_picture(scene.image)
    mask = Image.fromarray(((scene.alpha > 0.5).byte() * 255).numpy())
    sys.path.insert(0, str(folder))
    for name in STAND_INS:
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = MagicMock()
    with compat.install("pymatting"):
        from rembg.bg import alpha_matting_cutout

        start = time.perf_counter()
        cut = np.asarray(alpha_matting_cutout(image, mask, 240, 10, 10))
        seconds = time.perf_counter() - start
    true = scene.alpha.double().numpy()
    errors = matte_errors(cut[..., 3] / 255, true, np.ones(true.shape, bool))
    before = matte_errors((true > 0.5).astype(float), true, np.ones(true.shape, bool))
    print(
        f"  passes ({seconds:.1f} s): mean squared error of alpha {errors['MSE']:.4f}, of the mask "
        f"that it was given {before['MSE']:.4f}"
    )


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    pymatting(Path(sys.argv[1]))
    if len(sys.argv) == 3:
        rembg(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
