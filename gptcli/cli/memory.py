"""`gptcli memory`: the translations that are remembered."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli.options import option

app = typer.Typer(help="The translations that are remembered.", no_args_is_help=True)


@app.command()
def stats(
    context: typer.Context,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show how many translations there are, by languages, and how often they were of use."""
    from gptcli.cli.memory_actions import show_stats

    show_stats(context.params)


@app.command()
def export(
    context: typer.Context,
    output: Annotated[
        str | None, option("-o", "--output", metavar="FILE", help="Where to write; else stdout.")
    ] = None,
    overwrite: Annotated[bool, option("--overwrite", help="Replace the output file.")] = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Write all translations as TMX 1.4, which other translation programs read.

    Example:

      gptcli memory export -o translations.tmx
    """
    from gptcli.cli.memory_actions import write_tmx

    write_tmx(context.params)


@app.command()
def clear(
    context: typer.Context,
    to: Annotated[
        str | None, option("--to", metavar="LANG", help="Only what was translated into this language.")
    ] = None,
    yes: Annotated[bool, option("-y", "--yes", help="Without asking.")] = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Forget the translations."""
    from gptcli.cli.memory_actions import clear_memory

    clear_memory(context.params)
