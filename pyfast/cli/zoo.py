"""`pyfast zoo`: list, describe, check, convert and export models."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyfast.zoo.claims import Verdict

zoo = typer.Typer(
    name="zoo", help="Models by name.", no_args_is_help=True, pretty_exceptions_enable=False
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@contextmanager
def mistakes() -> Iterator[None]:
    """What the user got wrong is said in a sentence, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


def import_module(name: str | None) -> str | None:
    """Runs a module, looked for in the current folder first, or a .py file: it registers models."""
    if name is not None:
        file = Path(name) if name.endswith(".py") else None
        with mistakes():
            if file and not file.is_file():
                raise FileNotFoundError(f"--import: there is no file {name}")
            # A name, not only a file: pickles of what it defines have to find it again.
            sys.path.insert(0, str(file.parent.resolve() if file else Path.cwd()))
            module = importlib.import_module(file.stem if file else name)
            if file and Path(module.__file__ or "").resolve() != file.resolve():
                raise ImportError(f"--import: {name} is hidden by {module}: give it another name")
    return name


Import = Annotated[
    str | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        callback=import_module,
        is_eager=True,
        help="A module or .py file of yours that registers models.",
    ),
]


@zoo.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A name with wildcards.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only models for this task.")] = None,
    op: Annotated[str | None, typer.Option(help="Only models on this operator.")] = None,
    loads: Annotated[str | None, typer.Option(help="Only models that load this layout.")] = None,
    module: Import = None,
) -> None:
    """List models, one a line."""
    from pyfast.zoo import list_models
    from pyfast.zoo.registry import find

    names = list_models(pattern, task=task, op=op, loads=loads)
    if not names:
        typer.echo("no model is like that; `pyfast zoo list` lists them all", err=True)
    width = max(map(len, names), default=0)
    for name in names:
        typer.echo(f"{name:{width}}  {find(name).summary}")


@zoo.command()
def info(name: str, as_json: AsJson = False, module: Import = None) -> None:
    """Describe a model: paper, sizes, settings, claims, checkpoints that it loads."""
    from pyfast import zoo as models

    with mistakes():
        card = asdict(models.info(name))
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    for key, value in card.items():
        if isinstance(value, dict):
            value = [f"{k}={v}" for k, v in value.items()]
        lines = [value] if isinstance(value, str) else value
        for number, line in enumerate(lines or ["-"]):
            typer.echo(f"{'' if number else key:12}{line or '-'}")


@zoo.command()
def verify(
    name: Annotated[str, typer.Argument(help="A name with wildcards.")] = "*",
    fast: Annotated[
        bool, typer.Option("--fast", help="Only claims of at most ten seconds.")
    ] = False,
    as_json: AsJson = False,
    module: Import = None,
) -> None:
    """Measure what models claim, each against the baseline that has to lose.

    A claim is said as soon as it is measured; it takes seconds to minutes.
    """
    from pyfast.zoo.claims import claims_of

    with mistakes():
        rows = []
        for claim in claims_of(name, fast=fast):
            rows.append(row := _row(claim.verify()))
            if not as_json:
                numbers = " ".join(f"{value:.4g}" for value in row["values"])
                against = " ".join(f"{value:.4g}" for value in row["baselines"])
                word = "passed" if row["passed"] else "FAILED"
                typer.echo(
                    f"{word}  {row['model']}: {row['claim']} [{numbers} against {against}, "
                    f"{row['seconds']} s]"
                )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif not rows:
        typer.echo(f"{name} claims nothing{' that is measured so fast' if fast else ''}")
    if not all(row["passed"] for row in rows):
        raise typer.Exit(1)


def _row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON has it."""
    claim = verdict.claim
    return {
        "model": claim.model,
        "claim": claim.text,
        "passed": verdict.passed,
        "target": claim.target,
        "seeds": claim.seeds,
        "values": [run.value for run in verdict.runs],
        "baselines": [run.baseline for run in verdict.runs],
        "seconds": round(verdict.seconds, 1),
    }


@zoo.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A public checkpoint.")],
    output: Annotated[Path, typer.Argument(help="A folder, or a .safetensors file.")],
    layout: Annotated[str, typer.Option(help="Its layout; auto finds it.")] = "auto",
) -> None:
    """Turn a public checkpoint into weights that `from_pretrained` loads."""
    from pyfast.zoo import load_checkpoint, save_pretrained

    with mistakes():
        model = load_checkpoint(source, layout=layout)
        written = save_pretrained(model, output)
    typer.echo(f"{written}: {model.origin['layout']}, {model.origin['source']}")
    typer.echo(f"licence: {model.origin['licence']}")


@zoo.command()
def export(
    source: Annotated[str, typer.Argument(help="A saved model, or the name of shipped weights.")],
    output: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    module: Import = None,
) -> None:
    """Write a saved model as ONNX and compare it with onnxruntime."""
    from pyfast.zoo import export_onnx, from_pretrained

    with mistakes():
        difference = export_onnx(from_pretrained(source), output)
    typer.echo(f"{output}: outputs differ from PyTorch's by {difference:.1e} of the largest")
