"""`gptcli ask`: answers from documents, each with a quote and its place."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli.options import option

DOCUMENTS_PANEL = "Documents"
ANSWER_PANEL = "Answer"


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.")],
    # ---- documents
    file: Annotated[
        list[str] | None,
        option(
            "-f",
            "--file",
            metavar="FILE|DIR",
            help="A document or a folder of them; repeatable; - is stdin.",
            panel=DOCUMENTS_PANEL,
        ),
    ] = None,
    top: Annotated[
        int,
        option(
            "--top",
            metavar="K",
            help="Where not all fits: the passages that are read, the likeliest ones.",
            panel=DOCUMENTS_PANEL,
        ),
    ] = 5,
    embed_model: Annotated[
        str | None,
        option(
            "--embed-model",
            metavar="SPEC",
            help="Find passages by their meaning too, with this embedding model.",
            panel=DOCUMENTS_PANEL,
            autocompletion=opt.complete_model,
        ),
    ] = None,
    show_passages: Annotated[
        bool,
        option(
            "--show-passages",
            help="Show on stderr the passages that are read.",
            panel=DOCUMENTS_PANEL,
        ),
    ] = False,
    # ---- answer
    free: Annotated[
        bool,
        option(
            "--free",
            help="A written answer, each sentence with a checked citation.",
            panel=ANSWER_PANEL,
        ),
    ] = False,
    min_confidence: Annotated[
        float | None,
        option(
            "--min-confidence",
            metavar="P",
            help="The least probability that the answer is supported; below it: not found, exit 7.",
            panel=ANSWER_PANEL,
        ),
    ] = None,
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
    """Answer a question from documents, with a quote and its place.

    The answer is a part of the text: all are scored, and none is made up. Where there is none, that is
    said (exit status 7). Without documents it is what the model believes, unverified.

    Examples:

      gptcli ask "When does the lease end?" -f lease.txt

      gptcli ask "Who signed the treaty?" -f notes/ -f treaty.md --json

      curl -s https://example.org/terms.txt | gptcli ask "What is the notice period?"

      gptcli ask "What did the board decide, and why?" -f minutes/ --free
    """
    from gptcli.cli.answering import run_ask

    run_ask(context.params)
