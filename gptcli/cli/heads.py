"""`gptcli heads`: what `gptcli fit` has made."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import options as opt

app = typer.Typer(
    help="Heads: labels that were learnt from examples by gptcli fit.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def complete_head(incomplete: str) -> list[str]:
    """Return the heads that begin so."""
    from gptcli.store.heads import head_names

    return [name for name in head_names() if name.startswith(incomplete)]


NameArg = Annotated[
    str, typer.Argument(metavar="NAME", help="The head's name.", autocompletion=complete_head)
]
NamesArg = Annotated[
    list[str], typer.Argument(metavar="NAME…", help="The heads' names.", autocompletion=complete_head)
]


@app.command(name="list")
def list_heads(
    context: typer.Context,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show the heads: their model, labels, examples, and how good they were on unseen ones."""
    from gptcli.cli.head_views import show_heads

    show_heads(opt.make_output(context.params), as_json=json)


@app.command()
def show(
    context: typer.Context,
    name: NameArg,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show all that is known of a head."""
    from gptcli.cli.head_views import show_head

    show_head(name, opt.make_output(context.params), as_json=json)


@app.command()
def rm(
    context: typer.Context,
    names: NamesArg,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Delete heads."""
    from gptcli.cli.head_views import remove_heads

    remove_heads(names, opt.make_output(context.params), as_json=json)
