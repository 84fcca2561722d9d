"""The commands of `gptcli logs`. What each does is imported when it runs: start-up stays light."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from gptcli import paths
from gptcli.cli import options as opt
from gptcli.output.console import Output


class ExportFormat(StrEnum):
    """How conversations are written."""

    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"


def complete_id(incomplete: str) -> list[Any]:
    """Return the ids that begin so, each with its title."""
    from gptcli.cli.logs.reading import known_ids

    return list(known_ids(incomplete))


def _id(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, autocompletion=complete_id)


IdArg = Annotated[str | None, _id("[ID]", "The beginning of an id, or a title; else the last one.")]
IdsArg = Annotated[list[str] | None, _id("[ID]…", "Beginnings of ids, or titles.")]
KindOpt = Annotated[
    str | None,
    opt.option("--kind", metavar="KIND", help="Only of one command: chat, generate, map."),
]
LimitOpt = Annotated[int, opt.option("--limit", min=0, metavar="N", help="The last N; 0: all of them.")]

app = typer.Typer(
    help="What was asked and answered: chats, and the log of the other commands.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(name="list")
def list_logs(
    context: typer.Context,
    kind: KindOpt = None,
    limit: LimitOpt = 20,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show the last conversations: id, when, with which model, how they begin."""
    from gptcli.cli.logs.reading import list_conversations

    list_conversations(context.params, opt.make_output(context.params))


@app.command()
def show(
    context: typer.Context,
    name: IdArg = None,
    removed: Annotated[
        bool, opt.option("--removed", help="Also what an undo, an edit or a retry took back.")
    ] = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show one conversation as Markdown, or with --json with all that is needed to repeat it.

    Examples:

      gptcli logs show

      gptcli logs show 0m8w --json | jq .messages[-1].provenance
    """
    from gptcli.cli.logs.reading import show_conversation

    show_conversation(context.params, opt.make_output(context.params))


@app.command()
def search(
    context: typer.Context,
    query: Annotated[
        list[str], typer.Argument(metavar="WORD…", help="Words, or parts of them, in any script.")
    ],
    kind: KindOpt = None,
    limit: LimitOpt = 20,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Find the conversations with a message that has all words.

    Examples:

      gptcli logs search lighthouse keeper

      gptcli logs search '"the old keeper"' --json
    """
    from gptcli.cli.logs.reading import search_conversations

    search_conversations(context.params, opt.make_output(context.params))


@app.command()
def export(
    context: typer.Context,
    names: IdsArg = None,
    format: Annotated[
        ExportFormat, opt.option("--format", help="html: one page that loads nothing.")
    ] = ExportFormat.MARKDOWN,
    output: Annotated[
        str | None, opt.option("-o", "--output", metavar="FILE", help="Where to write; else stdout.")
    ] = None,
    overwrite: Annotated[bool, opt.option("--overwrite", help="Replace FILE.")] = False,
    kind: KindOpt = None,
    removed: Annotated[
        bool, opt.option("--removed", help="Also what an undo, an edit or a retry took back.")
    ] = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Write conversations, or all of them, to a file or a pipe.

    Examples:

      gptcli logs export 0m8w -o keeper.md

      gptcli logs export --kind chat --format html -o chats.html
    """
    from gptcli.cli.logs.exporting import export_conversations

    export_conversations(context.params, opt.make_output(context.params))


@app.command()
def rm(
    context: typer.Context,
    names: IdsArg = None,
    older_than: Annotated[
        str | None, opt.option("--older-than", metavar="AGE", help="Not written for: 12h, 10d, 6w, 1y.")
    ] = None,
    all: Annotated[bool, opt.option("--all", help="All of them.")] = False,
    kind: KindOpt = None,
    yes: opt.YesOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Delete conversations for good; their text is overwritten on the disk.

    Examples:

      gptcli logs rm 0m8wvwkn

      gptcli logs rm --older-than 30d --kind generate -y
    """
    from gptcli.cli.logs.changing import remove_conversations

    if not remove_conversations(context.params, opt.make_output(context.params)):
        raise typer.Exit(1)


@app.command()
def on() -> None:
    """Log from now on."""
    from gptcli.cli.logs.changing import switch_logs

    switch_logs(Output(), on=True)


@app.command()
def off() -> None:
    """Keep nothing from now on: no prompts, no answers, no evaluated prompts. What is there stays."""
    from gptcli.cli.logs.changing import switch_logs

    switch_logs(Output(), on=False)


@app.command()
def path() -> None:
    """Print where the database is."""
    Output().write(f"{paths.logs_file()}\n")
