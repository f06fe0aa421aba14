"""The commands of `pyfast` put together."""

import typer

from pyfast.cli import cutout, demo, env, matte, segment, zoo

app = typer.Typer(
    name="pyfast",
    help="Fast vision operators for PyTorch, and what can be done with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo.demo, env.env, matte.matte, cutout.cutout, segment.segment):
    app.command()(command)
app.add_typer(zoo.zoo)
