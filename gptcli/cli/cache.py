"""`gptcli cache`: what may be deleted at any time: evaluated prompts."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gptcli import paths
from gptcli.cli import options as opt
from gptcli.engine.prompt_cache import entries, prune
from gptcli.output.amounts import byte_count, counted
from gptcli.output.tables import print_table

app = typer.Typer(
    help="Evaluated prompts that are kept, so that a long document is not read twice.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(name="list")
def list_entries(
    context: typer.Context,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show the prompts that are kept: for which model, how long, when they were last used."""
    output = opt.make_output(context.params)
    found = entries(paths.prompt_cache_dir())
    total = sum(entry.size for entry in found)
    if json:
        rows = [
            {
                "model": e.model,
                "tokens": e.tokens,
                "size": e.size,
                "used": int(e.used),
                "path": str(e.path),
            }
            for e in found
        ]
        output.json({"size": total, "prompts": rows})
        return
    if found:
        table = [(e.model, f"{e.tokens:,}", byte_count(e.size), _day(e.used)) for e in found]
        print_table(output, ("model", "tokens", "size", "last used"), table)
    output.status(f"{counted(len(found), 'prompt')}, {byte_count(total)}, {paths.prompt_cache_dir()}")


@app.command()
def clear(
    context: typer.Context,
    keep: Annotated[
        float, opt.option("--keep", min=0, metavar="MB", help="Keep the last used, up to this size.")
    ] = 0,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Delete the prompts that are kept."""
    output = opt.make_output(context.params)
    directory = paths.prompt_cache_dir()
    freed = prune(directory, int(keep * 1e6)) if directory.is_dir() else 0
    if json:
        output.json({"freed_bytes": freed})
    output.status(f"freed {byte_count(freed)}")


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
