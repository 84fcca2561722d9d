"""`gptcli cache`: what may be deleted at any time: evaluated prompts, indexes of documents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptcli import paths
from gptcli.cli import options as opt
from gptcli.engine import prompt_cache
from gptcli.output.amounts import byte_count, counted
from gptcli.output.tables import print_table

if TYPE_CHECKING:
    from gptcli.store.index_cache import IndexEntry

app = typer.Typer(
    help="Evaluated prompts and indexes of documents, kept so that nothing long is read twice.",
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
    """Show what is kept: prompts by model, indexes by their first file; how long, when last used."""
    from gptcli.store import index_cache

    output = opt.make_output(context.params)
    prompts = prompt_cache.entries(paths.prompt_cache_dir())
    indexes = index_cache.entries(paths.indexes_dir())
    total = sum(e.size for e in prompts) + sum(e.size for e in indexes)
    if json:
        output.json({"size": total, "prompts": _prompts(prompts), "indexes": _indexes(indexes)})
        return
    table = [(e.model, counted(e.tokens, "token"), byte_count(e.size), _day(e.used)) for e in prompts]
    table += [(e.first, counted(e.files, "file"), byte_count(e.size), _day(e.used)) for e in indexes]
    if table:
        print_table(output, ("model, or first file", "length", "size", "last used"), table)
    counts = f"{counted(len(prompts), 'prompt')}, {len(indexes):,} index{'es' * (len(indexes) != 1)}"
    output.status(f"{counts}, {byte_count(total)}, {paths.cache_dir()}")


@app.command()
def clear(
    context: typer.Context,
    keep: Annotated[
        float,
        opt.option("--keep", min=0, metavar="MB", help="Keep the last used of each, up to this size."),
    ] = 0,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Delete the prompts and indexes that are kept."""
    from gptcli.store import index_cache

    output = opt.make_output(context.params)
    freed = 0
    for directory, prune in (
        (paths.prompt_cache_dir(), prompt_cache.prune),
        (paths.indexes_dir(), index_cache.prune),
    ):
        freed += prune(directory, int(keep * 1e6)) if directory.is_dir() else 0
    if json:
        output.json({"freed_bytes": freed})
    output.status(f"freed {byte_count(freed)}")


def _prompts(entries: Sequence[prompt_cache.Entry]) -> list[dict[str, Any]]:
    return [
        {"model": e.model, "tokens": e.tokens, "size": e.size, "used": int(e.used), "path": str(e.path)}
        for e in entries
    ]


def _indexes(entries: Sequence[IndexEntry]) -> list[dict[str, Any]]:
    return [
        {"first": e.first, "files": e.files, "size": e.size, "used": int(e.used), "path": str(e.path)}
        for e in entries
    ]


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
