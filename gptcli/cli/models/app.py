"""The commands of `gptcli models`. What each does is imported when it runs: start-up stays light."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gptcli.cli import options as opt

WindowOpt = Annotated[
    int,
    opt.option("--ctx-size", min=1, help="Context window in tokens, for the memory that is needed."),
]
DryRunOpt = Annotated[bool, opt.option("--dry-run", help="Say what would be done, and do nothing.")]


def _spec(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, autocompletion=opt.complete_model)


SpecArg = Annotated[str, _spec("SPEC", "An alias, user/repo, user/repo:QUANT, hf.co/…, or a file.")]
OptionalSpecArg = Annotated[str | None, _spec("[SPEC]", "An alias, a repository, or a file.")]
SpecsArg = Annotated[list[str] | None, _spec("[SPEC]…", "Which models.")]

app = typer.Typer(
    help="Download, check, show and remove models.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def pull(
    context: typer.Context,
    spec: SpecArg,
    dry_run: DryRunOpt = False,
    update: Annotated[
        bool, opt.option("--update", help="Take the newest files, also where they have changed.")
    ] = False,
    accept_license: Annotated[
        bool, opt.option("--accept-license", help="Accept the model's licence without being asked.")
    ] = False,
    force: Annotated[
        bool, opt.option("--force", help="Download it even if it does not fit in memory.")
    ] = False,
    ctx_size: WindowOpt = 4096,
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Download a model into the Hub's cache, check it, and print the path of its file.

    A download that was broken off goes on where it stopped. Without a QUANT the usual one that fits in
    memory is taken. The same files stay in use until --update.

    Examples:

      gptcli models pull qwen3-1.7b

      gptcli models pull unsloth/Qwen3-4B-GGUF:Q5_K_M

      gptcli generate -m "$(gptcli models pull qwen3-1.7b)" "Write a limerick"
    """
    from gptcli.cli.models.pulling import pull_model

    pull_model(context.params, opt.make_output(context.params))


@app.command()
def fit(
    context: typer.Context,
    spec: OptionalSpecArg = None,
    task: Annotated[str | None, opt.option("--task", help="Without SPEC: all models for it.")] = None,
    ctx_size: WindowOpt = 4096,
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show what fits into this machine's memory: the quantizations of SPEC, or the known models by task.

    Of a repository on the Hub 1 MiB is read. Memory is that of weights, KV cache and buffers.

    Examples:

      gptcli models fit

      gptcli models fit unsloth/Qwen3-4B-GGUF --ctx-size 32768
    """
    from gptcli.cli.models.fitting import show_fit

    show_fit(context.params, opt.make_output(context.params))


@app.command(name="list")
def list_models(
    context: typer.Context,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show the models on this machine, also those that hf and llama.cpp downloaded."""
    from gptcli.cli.models.listing import show_list

    show_list(context.params, opt.make_output(context.params))


@app.command()
def show(
    context: typer.Context,
    spec: SpecArg,
    get: Annotated[
        str | None, opt.option("--get", metavar="KEY", help="Print one header field, whole.")
    ] = None,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Show what a model says of itself: every field of its header, chat template, licence, abilities.

    Examples:

      gptcli models show starter

      gptcli models show qwen3-4b --get tokenizer.chat_template
    """
    from gptcli.cli.models.showing import show_model

    show_model(context.params, opt.make_output(context.params))


@app.command()
def verify(
    context: typer.Context,
    specs: SpecsArg = None,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Compare the files of models (by default of all) with their SHA-256, without the network.

    Exit status 1 when a file is damaged.
    """
    from gptcli.cli.models.verifying import verify_models

    if not verify_models(context.params, opt.make_output(context.params)):
        raise typer.Exit(1)


@app.command()
def rm(
    context: typer.Context,
    specs: SpecsArg = None,
    incomplete: Annotated[
        bool, opt.option("--incomplete", help="Downloads that were broken off.")
    ] = False,
    yes: opt.YesOpt = False,
    dry_run: DryRunOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Remove models from this machine. Of an imported file only the name goes.

    Examples:

      gptcli models rm qwen3-4b

      gptcli models rm --incomplete -y
    """
    from gptcli.cli.models.removing import remove_models

    if not remove_models(context.params, opt.make_output(context.params)):
        raise typer.Exit(1)


@app.command()
def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD…", help="What its name should have.")],
    limit: Annotated[int, opt.option("--limit", min=1, max=1000, help="How many to show.")] = 20,
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Search the Hub for models in GGUF files, the most downloaded first.

    Examples:

      gptcli models search qwen3 4b

      gptcli models search translate --limit 5 --json | jq -r '.models[].repo'
    """
    from gptcli.cli.models.searching import search_hub

    search_hub(context.params, opt.make_output(context.params))


@app.command(name="import")
def import_model(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE|ollama:NAME", help="A GGUF file, or a model that Ollama has.")
    ],
    alias: Annotated[
        str | None, opt.option("--alias", help="What to call it; by default after the file.")
    ] = None,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Give a file on this machine a name that -m takes. Nothing is copied.

    Examples:

      gptcli models import ~/Downloads/model-q4_k_m.gguf --alias mine

      gptcli models import ollama:llama3.2
    """
    from gptcli.cli.models.importing import import_file

    import_file(context.params, opt.make_output(context.params))
