"""Runs a command in the project's environment, which it brings up to date first.

    python3 scripts/environment.py EXTRA -- COMMAND...

The environment is the active one (venv or conda) or else `.venv`, made on the first call. A torch
that can be imported there stays; else $TORCH is installed. pyfast is built in place and installed
with its extra EXTRA. Without network access it works where everything needed is there already.
"""

import ast
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LINES_SHOWN = 60


def check_python() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036  (this runs before pip could refuse)
        sys.exit(
            f"pyfast: needs Python 3.10 or newer, and {sys.executable} is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Name a newer one: "
            "`make PYTHON=python3.12 ...`."
        )


def step(text: str, *command: object) -> None:
    """Runs `command`, says in one line what for and how long; its output shows if it fails."""
    print(f"==> {text}", end=" ", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    print(f"({time.monotonic() - started:.0f} s)", flush=True)
    if done.returncode != 0:
        lines = done.stdout.splitlines()[-LINES_SHOWN:]
        print("\n".join(lines))
        says_why = bool(lines) and lines[-1].startswith("pyfast:")
        sys.exit(1 if says_why else f"pyfast: this step failed: {text}. The lines above say why.")


def environment() -> Path:
    """The interpreter of the active environment, or of `.venv`."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        python = Path(os.environ.get(name, "")) / "bin" / "python"
        if os.environ.get(name) and python.exists():
            return python
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    if not (VENV / "bin" / "pip").exists():
        if find_spec("venv") is None or find_spec("ensurepip") is None:
            sys.exit(
                f"pyfast: {sys.executable} has no venv module to make an environment with. Install "
                "it (Debian: `apt-get install python3-venv`) or activate an environment first."
            )
        # The torch of the system's Python, if it has one, is kept by looking through to it.
        options = ["--system-site-packages"] if find_spec("torch") else []
        step("Making .venv", sys.executable, "-m", "venv", *options, VENV)
    return VENV / "bin" / "python"


def tool_will_do(requirement: str) -> bool:
    """Whether the machine's own cmake or ninja meets a requirement such as `cmake>=3.20`."""
    name, _, wanted = requirement.partition(">=")
    if name not in ("cmake", "ninja") or shutil.which(name) is None:
        return False
    found = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True).stdout
    has, needs = ([int(n) for n in re.findall(r"\d+", text)[:2]] for text in (found, wanted))
    return has >= needs


def build_requirements() -> "list[str]":
    """What pyproject.toml asks for at build time, without torch and without what is there."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = ast.literal_eval(re.findall(r"^requires = (\[.*?\])$", text, re.M | re.S)[0])
    return [r for r in listed if not r.startswith("torch") and not tool_will_do(r)]


def prepare(extra: str) -> None:
    """Installs what is missing and builds what has changed."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    if find_spec("pip") is None:
        step("Adding pip", sys.executable, "-m", "ensurepip")
    if find_spec("torch") is None:
        torch = os.environ.get("TORCH", "torch")
        step(f"Installing {torch}, a large download", *pip, *shlex.split(torch))

    from importlib.metadata import version

    inputs = [version("torch"), sys.version, str(ROOT)]
    inputs += [(ROOT / name).read_text() for name in ("pyproject.toml", "setup.py")]
    digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
    stamp = Path(sys.prefix) / f".pyfast-{extra}"
    changed = not stamp.exists() or stamp.read_text() != digest

    # No package that follows may replace torch.
    constraints = Path(sys.prefix) / ".pyfast-constraints"
    constraints.write_text(f"torch=={version('torch')}\n")
    pip += ["-c", str(constraints)]
    if changed:
        step("Installing the build tools", *pip, *build_requirements())
    # Here and not only through pip, which would show a failing compiler's output less readably.
    step("Building pyfast._C", sys.executable, "setup.py", "build_ext", "--inplace")
    if changed:
        package = f".[{extra}]"
        step(f"Installing pyfast[{extra}]", *pip, "--no-build-isolation", "-e", package)
        stamp.write_text(digest)


def main() -> None:
    check_python()
    extra, _, *command = sys.argv[1:]
    python = environment()
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    if not os.path.samefile(python.parent, Path(sys.executable).parent):
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    prepare(extra)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
