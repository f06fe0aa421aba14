"""`pyfast zoo train|evaluate|infer|plot`: from a name to a trained model, and what it says."""

from __future__ import annotations

import ast
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pyfast._files import some_pictures_in
from pyfast._json import strict_json
from pyfast.cli.zoo import AsJson, Import, mistakes

VERBS = {"classification": "classify", "segmentation": "segment"}  # by task
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# What a run knows itself, or what is said apart.
REMEMBERED = ("name", "settings", "data", "out", "resume", "seed", "precision")
INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended

Source = Annotated[
    str, typer.Argument(help="A run, a saved model, or the name of shipped weights.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model, as stn_cnn, stn_cnn.tiny.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings to replace.", metavar="KEY=VALUE...")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your pictures: a folder for each class, or, to segment, images and masks; "
            "default: generated ones."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/NAME.")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on; settings that are not given stay as they were."),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of weights and noise; default: 0.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: a GPU if there is one.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, 16-mixed, bf16-true; default: 32.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read data.")] = 0,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    log_every: Annotated[int, typer.Option(help="Steps between lines of the log.")] = 10,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between measurements; default: at the end.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option(help="A metric by which best.pt is kept, as test/accuracy.")
    ] = None,
    mode: Annotated[str, typer.Option(help="Whether its max or its min is best.")] = "max",
    samples_every: Annotated[int, typer.Option(help="Steps between sample pictures.")] = 1000,
    progress: Annotated[
        bool | None, typer.Option(help="Show a bar; default: in a terminal.")
    ] = None,
    module: Import = None,
) -> None:
    """Train a model. Ctrl-C ends the step, saves, and says how to go on.

    Under torchrun every process takes part: torchrun --nproc_per_node 2 -m pyfast.cli zoo train ...
    """
    import torch

    from pyfast.train import read_log
    from pyfast.train import train as run
    from pyfast.train.checkpoint import CHECKPOINT
    from pyfast.train.logs import WARNING
    from pyfast.zoo import System, TrainingConfig, create_model
    from pyfast.zoo.registry import find

    base = name.partition(".")[0]
    out = out or Path("runs") / base
    first = os.environ.get("RANK", "0") == "0"
    with mistakes():
        if not resume and (out / CHECKPOINT).exists():
            raise ValueError(f"{out} has a run: add --resume, or choose another --out")
        before = _settings_of(out, base) if resume else {}
        config = _config(name, settings or [], before.get("config"))
        seed = before.get("seed", 0) if seed is None else seed
        precision = before.get("precision") if precision is None else precision
        torch.manual_seed(seed)
        if not issubclass(find(base).model, System):
            raise TypeError(f"{base} is a network without losses: there is nothing to train it by")
        if not isinstance(config, TrainingConfig):
            raise TypeError(f"{base} has nothing to learn")
        if data is not None:
            config = _with_data(base, config, data)
        system = create_model(base, config)
        if first:
            typer.echo(f"{base}: {config.steps} steps into {out}")
        try:
            run(
                system,
                out,
                resume=resume,
                seed=seed,
                device=device,
                precision=precision,
                workers=workers,
                save_every=save_every,
                log_every=log_every,
                evaluate_every=evaluate_every,
                watch=watch,
                mode=mode,
                samples_every=samples_every,
                progress=sys.stderr.isatty() if progress is None else progress,
            )
        except KeyboardInterrupt as stop:
            if first:
                again = shlex.join([name, "--out", str(out), *_given(context), "--resume"])
                how = f"Go on with: {_program()} zoo train {again}"
                kept = (out / CHECKPOINT).exists()
                typer.echo(f"\nStopped{f'. {how}' if kept else ' before there was a checkpoint.'}")
            raise typer.Exit(INTERRUPTED) from stop
        except FloatingPointError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from error
    if first:
        last = read_log(out)[-1]
        numbers = "  ".join(f"{key} {last[key]:.4g}" for key in last if key != WARNING)
        typer.echo(f"{numbers}\nmodel: {out / 'model'}\npage:  {out / 'index.html'}")


def _program() -> str:
    """What this command was started by."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return "pyfast"
    return f"torchrun --nproc_per_node {os.environ['LOCAL_WORLD_SIZE']} -m pyfast.cli"


def _given(context: typer.Context) -> list[str]:
    """Options of the command line that a run which goes on needs again."""
    words: list[str] = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source and source.name == "COMMANDLINE" and option.name not in REMEMBERED:
            value = context.params[option.name or ""]
            flags = option.secondary_opts if value is False else option.opts
            words += flags[:1] if isinstance(value, bool) else [flags[0], str(value)]
    return words


def _settings_of(run: Path, base: str) -> dict[str, Any]:
    """What a run was started with."""
    file = run / "config.json"
    if not file.exists():
        raise FileNotFoundError(f"{run} holds no run: there is nothing to resume")
    found: dict[str, Any] = json.loads(file.read_text())
    if found["model"] != base:
        raise ValueError(f"{run} is a run of {found['model']}, not of {base}")
    return found


def _config(name: str, pairs: Sequence[str], before: dict[str, Any] | None) -> Any:
    """The config of a name, or of the run that goes on, with some settings replaced."""
    from pyfast.zoo.registry import check_fields, check_names, configure, find

    config = configure(name)
    if before is not None:
        check_names(name, config, before)
        config = find(name.partition(".")[0]).model.Config.from_json(before)
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected a setting as key=value, got {pair!r}")
        check_names(name, config, [key])
        values[key] = _read(key, text, getattr(config, key))
    check_fields(name, config, values)
    return replace(config, **values)


def _with_data(name: str, config: Any, folder: Path) -> Any:
    """The config of a model that learns from a folder, with the classes that it has."""
    from pyfast.data import class_names
    from pyfast.zoo.registry import check_fields, find

    values: dict[str, Any] = {"data": str(folder)}
    check_fields(name, config, values)
    if find(name).task == "classification":
        labels = class_names(folder)
        values |= {"labels": labels, "classes": len(labels)}
    return replace(config, **values)


def _read(key: str, text: str, default: Any) -> Any:
    """A value that was written in a shell, of the kind that the setting has."""
    if text == "None":
        return None
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() not in WORDS:
            raise ValueError(f"{key}: expected true or false, got {text!r}")
        return WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if isinstance(default, int | float):
            raise ValueError(f"{key}: expected a number like {default}, got {text!r}") from None
        value = tuple(text.split(",")) if isinstance(default, tuple) else text
    if isinstance(default, tuple) and not isinstance(value, tuple):
        return (value,)
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e5
    return value


def evaluate(
    source: Source,
    data: Annotated[
        Path | None,
        typer.Option(help="Your pictures, as for training, if they moved or are others."),
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    module: Import = None,
) -> None:
    """Measure a trained model on its test data."""
    from pyfast import train as training
    from pyfast.zoo import System, from_pretrained

    with mistakes():
        other = {} if data is None else {"data": str(data)}
        model = from_pretrained(source, device=device, **other)
        if not isinstance(model, System):
            raise TypeError(f"{source} is a network without data to measure it on")
        found = training.evaluate(model)
    if as_json:
        typer.echo(strict_json(found))
        return
    width = max(map(len, found), default=0)
    for key, value in found.items():
        typer.echo(f"{key:{width}}  {value:.4g}")


def infer(
    source: Source,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    device: Device = "cpu",
    as_json: AsJson = False,
    module: Import = None,
) -> None:
    """Say what a trained model sees in pictures, a line for each.

    The label of a classifier, or the labels of a segmenter with the part of the picture that each
    has; `pyfast segment` writes those as pictures.
    """
    from pyfast import zoo as models
    from pyfast.zoo.registry import find, name_of

    with mistakes():
        model = models.from_pretrained(source, device=device)
        task = find(name_of(model)).task
        if task not in VERBS:
            raise ValueError(f"infer is for {', '.join(VERBS)}, and {source} for {task}")
        files = [
            f for path in pictures for f in (some_pictures_in(path) if path.is_dir() else [path])
        ]
        for file in files:
            found = getattr(models, VERBS[task])(file, model)
            shares = found.found if task == "segmentation" else {found.label: found.probability}
            text = ", ".join(f"{label} {share:.1%}" for label, share in shares.items())
            line = json.dumps({"file": str(file), "found": shares})
            typer.echo(line if as_json else f"{file}: {text}")


def plot(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write the page of a run, finished or not: curves, samples, settings."""
    from pyfast.train import write_page

    with mistakes():
        typer.echo(write_page(run))
