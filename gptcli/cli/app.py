"""The root app: commands, the settings file, and the one place where errors become exit statuses."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from gptcli import __version__, paths
from gptcli.cli import (
    ask,
    bench,
    cache,
    chat,
    classify,
    config,
    doctor,
    fit,
    generate,
    heads,
    memory,
    sentiment,
    summarize,
    translate,
)
from gptcli.cli import eval as eval_module
from gptcli.cli import map as map_module
from gptcli.cli.logs import app as logs
from gptcli.cli.models import app as models
from gptcli.errors import ExitStatus, GptcliError, UsageError
from gptcli.output.console import Output
from gptcli.settings import defaults_by_command, read_config


class RootGroup(typer.core.TyperGroup):
    """The root command. Typer would end with status 1 when the reader of a pipe goes away."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # `gptcli … | head`: the reader has what it wanted
            _silence_stdout()
            raise typer.Exit(ExitStatus.OK) from error


app = typer.Typer(
    name="gptcli",
    cls=RootGroup,
    help="Language models on your own machine: chat and generate text, in a terminal or in a pipe.",
    epilog="Every option can be set in config.toml (gptcli config path) or as GPTCLI_<OPTION>.",
    no_args_is_help=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command(name="generate")(generate.generate)
app.command(name="chat")(chat.chat)
app.command(name="map")(map_module.map_command)
app.command(name="translate", cls=translate.TranslateCommand)(translate.translate)
app.command(name="detect")(translate.detect)
app.command(name="ask")(ask.ask)
app.command(name="summarize")(summarize.summarize)
app.command(name="sentiment")(sentiment.sentiment)
app.command(name="classify")(classify.classify)
app.command(name="fit")(fit.fit)
app.command(name="eval")(eval_module.eval_command)
app.command(name="bench")(bench.bench)
app.command(name="doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(logs.app, name="logs")
app.add_typer(memory.app, name="memory")
app.add_typer(heads.app, name="heads")
app.add_typer(cache.app, name="cache")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gptcli {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        return
    if context.invoked_subcommand != "config":  # which must be able to mend a broken file
        path = paths.config_file()
        values = defaults_by_command(read_config(path), command_options(), path)
        context.default_map = {
            name: _by_subcommand(command, values[name])
            for name, command in commands().items()
            if name in values
        }


def command_options() -> dict[str, frozenset[str]]:
    """Return the parameter names of each command that takes its defaults from config.toml.

    A group has those of all its commands.
    """
    return {
        name: frozenset().union(*(_options(each) for each in leaves(command)))
        for name, command in commands().items()
        if name != "config"
    }


def commands() -> dict[str, Any]:
    """Return the commands and groups of the root, as Typer makes them."""
    return dict(root_group().commands)


@functools.cache
def root_group() -> typer.core.TyperGroup:
    """Return the root command, made once: making it reads all options of all commands."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def leaves(command: Any) -> list[Any]:
    """Return a group's commands, or the command itself."""
    return list(command.commands.values()) if isinstance(command, typer.core.TyperGroup) else [command]


def _options(command: Any) -> set[str]:
    return {str(param.name) for param in command.params if param.param_type_name == "option"}


def _by_subcommand(command: Any, values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(command, typer.core.TyperGroup):
        repeatable = {param.name for param in command.params if getattr(param, "multiple", False)}
        return {
            key: [value] if key in repeatable and isinstance(value, str) else value
            for key, value in values.items()
        }
    return {
        name: _by_subcommand(
            each, {key: value for key, value in values.items() if key in _options(each)}
        )
        for name, each in command.commands.items()
    }


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status. Every error ends here."""
    as_json, debug = (
        "--json" in arguments,
        "--debug" in arguments or bool(os.environ.get("GPTCLI_DEBUG")),
    )
    try:
        if sys.stdout is None or sys.stderr is None:
            return ExitStatus.FAILED  # closed by whoever started us: there is nobody to tell
        if not arguments and _is_terminal():
            arguments = ("chat",)
        status = root_group()(args=list(arguments), prog_name="gptcli", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except GptcliError as error:
        if debug:
            _print_traceback()
        return _report(error, as_json)
    except typer.TyperException as error:
        if not error.format_message():
            return ExitStatus.USAGE  # a group without a command, which has printed its help
        return _report(_usage_error(error), as_json)
    except (KeyboardInterrupt, typer.Abort):
        return ExitStatus.INTERRUPTED
    except OSError as error:
        if debug:
            _print_traceback()
        _drop_what_stdout_refuses()
        return _report(GptcliError(_os_error_text(error), hint="the same with --debug"), as_json)
    except Exception as error:  # noqa: BLE001 (a bug of ours: still one line, still a hint)
        if debug:
            _print_traceback()
        fact = f"internal error: {type(error).__name__}: {error}"
        return _report(GptcliError(fact, hint="the same with --debug, and a report to us"), as_json)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _report(error: GptcliError, as_json: bool) -> int:
    Output().error(error, as_json=as_json)
    return error.exit_status


def _usage_error(error: typer.TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gptcli"
    message = error.format_message().rstrip(".") if hasattr(error, "format_message") else str(error)
    return UsageError(message[:1].lower() + message[1:], hint=f"{command} --help")


def _os_error_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _drop_what_stdout_refuses() -> None:
    # What a full disk refused is still in the buffer; Python would try again at exit, and fail again.
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    # Python flushes stdout at exit and would complain about the closed pipe.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
