"""The command `pyfast`. One module here for each command, added to the list in `app`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line; the entry point that `pyproject.toml` names."""
    try:
        from pyfast.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("The pyfast command needs typer: run `pip install 'pyfast[cli]'`.")
    app()
