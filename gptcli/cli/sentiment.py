"""`gptcli sentiment`: positive or negative, with a probability."""

from __future__ import annotations

from typing import Annotated

import typer

from gptcli.cli import label_options as lab
from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli.options import option


def sentiment(
    context: typer.Context,
    texts: lab.TextsArg = None,
    neutral: Annotated[
        bool,
        option("--neutral", help="A third class for texts that are neither.", panel=lab.LABELS_PANEL),
    ] = False,
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
    """Tell whether texts are positive or negative.

    The label is not written by the model but measured: how much likelier one word is than the other
    after each text. Scores are probabilities, calibrated for the model.

    Of a long text every part is read; what they say is averaged by length.

    Examples:

      gptcli sentiment 'The plot is thin, but what a cast!'

      gptcli sentiment -i reviews.csv --field review -o labelled.csv

      tail -f comments.log | gptcli sentiment --neutral --jsonl

      gptcli sentiment --explain 'Great sound, but it broke after a week.'
    """
    from gptcli.cli.labelling import run_sentiment

    run_sentiment(context.params)
