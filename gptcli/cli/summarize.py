"""`gptcli summarize`: the points of documents, each with its place."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli.options import option

SUMMARY_PANEL = "Summary"


def summarize(
    context: typer.Context,
    file: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|DIR]…", help="Documents, and folders of them; - or nothing is stdin."
        ),
    ] = None,
    # ---- summary
    words: Annotated[
        int,
        option(
            "--words",
            metavar="N",
            help="About how many words, rather fewer.",
            panel=SUMMARY_PANEL,
        ),
    ] = 100,
    # ---- common
    model: opt.ModelOpt = None,
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    parallel: opt.ParallelOpt = "auto",
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    no_log: opt.NoLogOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Summarize documents in points, each with the file and line that say so.

    A point is in the model's words where a sentence or two of the text say it; else it is
    a sentence of the text. On a terminal, the quote is below.

    Examples:

      gptcli summarize report.pdf

      gptcli summarize minutes/ --words 250 --json

      curl -s https://example.org/news.html | gptcli summarize --words 50
    """
    from gptcli.cli.summarizing import run_summarize

    run_summarize(context.params)
