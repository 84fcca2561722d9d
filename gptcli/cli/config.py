"""`gptcli config`: show, path, set."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli import paths
from gptcli.cli import options as opt
from gptcli.errors import UsageError
from gptcli.output.console import Output
from gptcli.settings import read_config, write_value

app = typer.Typer(
    help="The settings file: defaults for every option.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def path() -> None:
    """Print where config.toml is."""
    Output().write(f"{paths.config_file()}\n")


@app.command()
def show(json: opt.JsonOpt = False) -> None:
    """Print what config.toml sets, and which environment variables override it."""
    import os

    output = Output()
    config = read_config(paths.config_file())
    environment = {
        name: value for name, value in sorted(os.environ.items()) if name.startswith("GPTCLI_")
    }
    if json:
        output.json({"path": str(paths.config_file()), "config": config, "environment": environment})
        return
    import tomlkit

    output.status(f"# {paths.config_file()}{'' if paths.config_file().exists() else ' (not there yet)'}")
    output.write(tomlkit.dumps(config))
    for name, value in environment.items():
        output.write(f"# {name}={value}\n")


@app.command(name="set")
def set_value(
    key: Annotated[str, typer.Argument(help="An option's name, or COMMAND.OPTION.")],
    value: Annotated[str, typer.Argument(help="Its value; empty text as ''.")],
) -> None:
    """Set a default: gptcli config set temperature 0.7.

    Examples:

      gptcli config set model ~/models/qwen.gguf

      gptcli config set generate.max-tokens 400
    """
    from gptcli.cli.app import command_options

    commands = command_options()
    command, dot, _ = key.rpartition(".")
    if dot and command not in commands:
        raise UsageError(f'there is no command "{command}"', hint="gptcli --help")
    known = commands[command] if dot else frozenset().union(*commands.values())
    stored = write_value(paths.config_file(), key, value, known)
    Output().status(f"{key} = {stored!r} in {paths.config_file()}")
