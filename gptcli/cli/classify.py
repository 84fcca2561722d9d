"""`gptcli classify`: which of your labels fits a text."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import label_options as lab
from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli.options import option


def classify(
    context: typer.Context,
    texts: lab.TextsArg = None,
    labels: Annotated[
        str | None,
        option(
            "--labels",
            metavar="A,B,…",
            help="The labels, in any language; label=description says what one means.",
            panel=lab.LABELS_PANEL,
        ),
    ] = None,
    multi_label: Annotated[
        bool,
        option(
            "--multi-label",
            help="Each label by itself: several may fit, or none.",
            panel=lab.LABELS_PANEL,
        ),
    ] = False,
    head: Annotated[
        str | None,
        option(
            "--head",
            metavar="NAME",
            help="Labels learnt from examples by gptcli fit, in place of --labels.",
            panel=lab.LABELS_PANEL,
        ),
    ] = None,
    top: lab.TopOpt = None,
    explain: lab.ExplainOpt = False,
    sentences: lab.SentencesOpt = False,
    min_confidence: lab.MinConfidenceOpt = None,
    calibration: lab.CalibrationOpt = True,
    # ---- records
    input: rec.InputOpt = None,
    output: rec.OutputOpt = None,
    input_format: rec.InputFormatOpt = rec.InputFormat.AUTO,
    field: rec.FieldOpt = None,
    format: lab.LabelFormatOpt = lab.LabelFormat.AUTO,
    json: rec.JsonArrayOpt = False,
    jsonl: rec.JsonLinesOpt = False,
    output_field: lab.OutputFieldOpt = None,
    resume: rec.ResumeOpt = False,
    overwrite: rec.OverwriteOpt = False,
    limit: rec.LimitOpt = None,
    # ---- common
    model: opt.ModelOpt = None,
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    parallel: opt.ParallelOpt = "auto",
    offline: opt.OfflineOpt = False,
    no_log: opt.NoLogOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Choose the label that fits each text best.

    The label is not written by the model but measured: how likely each label is after the text.

    Of a long text every part is read; what they say is averaged by length.

    Examples:

      gptcli classify 'The striker missed a penalty.' --labels sports,politics,science

      gptcli classify -i tickets.csv --field body --labels 'bug=something is broken,question,praise'

      tail -f app.log | gptcli classify --labels error,warning,harmless

      gptcli classify -i tickets.csv --field body --head tickets

      gptcli classify -i news.jsonl --labels economy,health,climate --multi-label --jsonl
    """
    from gptcli.cli.labelling import run_classify

    run_classify(context.params)
