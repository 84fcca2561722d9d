"""`gptcli fit`: learn labels from examples."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli.options import option

FIT_PANEL = "Examples and head"


def fit(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled examples: CSV, TSV or JSONL.")],
    text: Annotated[
        str, option("--text", metavar="COL", help="The column of the texts.", panel=FIT_PANEL)
    ] = "text",
    label: Annotated[
        str, option("--label", metavar="COL", help="The column of the labels.", panel=FIT_PANEL)
    ] = "label",
    name: Annotated[
        str | None,
        option("-o", "--name", metavar="NAME", help="What to call the head.", panel=FIT_PANEL),
    ] = None,
    overwrite: Annotated[
        bool, option("--overwrite", help="Replace the head of this name.", panel=FIT_PANEL)
    ] = False,
    zero_shot: Annotated[
        bool,
        option(
            "--zero-shot/--no-zero-shot",
            help="Compare with what the model says without examples.",
            panel=FIT_PANEL,
        ),
    ] = True,
    input_format: rec.InputFormatOpt = rec.InputFormat.AUTO,
    limit: rec.LimitOpt = None,
    # ---- common
    model: opt.ModelOpt = None,
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    parallel: opt.ParallelOpt = "auto",
    offline: opt.OfflineOpt = False,
    no_log: opt.NoLogOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Learn labels from your own examples: a few hundred are enough, and take less than a minute.

    A head is fitted on what the model makes of the texts inside; the model itself stays as it is. All
    figures are about examples that the head had not seen. Needs the extra: pip install 'gptcli[fit]'.

    Examples:

      gptcli fit tickets.csv --text body --label team -o tickets

      gptcli classify -i new.csv --field body --head tickets
    """
    from gptcli.cli.fitting import run_fit

    run_fit(context.params, opt.make_output(context.params))
