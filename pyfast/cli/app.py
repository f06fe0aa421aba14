"""The commands of `pyfast` put together."""

import typer

from pyfast.cli import cutout, demo, env, matte, segment, zoo, zoo_runs

app = typer.Typer(
    name="pyfast",
    help="Fast vision operators for PyTorch, and what can be done with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo.demo, env.env, matte.matte, cutout.cutout, segment.segment):
    app.command()(command)
for command in (zoo_runs.train, zoo_runs.evaluate, zoo_runs.infer, zoo_runs.plot):
    zoo.zoo.command()(command)
app.add_typer(zoo.zoo)
