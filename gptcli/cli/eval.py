"""`gptcli eval`: how good models are at a task, on labelled data."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli.bench import whole_spec
from gptcli.cli.options import option

EVAL_PANEL = "What to evaluate"


class EvalTask(StrEnum):
    """The tasks that can be evaluated."""

    SENTIMENT = "sentiment"
    CLASSIFY = "classify"
    TRANSLATE = "translate"
    ASK = "ask"


def eval_command(
    context: typer.Context,
    task: Annotated[
        EvalTask, typer.Argument(metavar="TASK", help="sentiment, classify, translate or ask.")
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled data: CSV, TSV or JSONL.")],
    model: Annotated[
        list[str] | None,
        option(
            "-m",
            "--model",
            metavar="SPEC",
            help="An alias, user/repo:QUANT, or a .gguf file; repeatable.",
            panel=opt.MODEL_PANEL,
            autocompletion=opt.complete_model,
            callback=whole_spec,
        ),
    ] = None,
    text: Annotated[
        str, option("--text", metavar="COL", help="The column of the texts.", panel=EVAL_PANEL)
    ] = "text",
    label: Annotated[
        str, option("--label", metavar="COL", help="The column of what is right.", panel=EVAL_PANEL)
    ] = "label",
    form: Annotated[
        list[str] | None,
        option(
            "--form",
            metavar="NAME|all",
            help="Ask in this form, calibrated; repeatable. Else in the one that suits the model.",
            panel=EVAL_PANEL,
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        option("--head", metavar="NAME", help="Labels by this head; repeatable.", panel=EVAL_PANEL),
    ] = None,
    calibration: Annotated[
        bool,
        option(
            "--calibration/--no-calibration",
            help="Undo the model's liking for a label.",
            panel=EVAL_PANEL,
        ),
    ] = True,
    from_: Annotated[
        str | None,
        option("--from", metavar="LANG", help="translate: else as the data say.", panel=EVAL_PANEL),
    ] = None,
    to: Annotated[
        str | None,
        option("--to", metavar="LANG", help="translate: else as the data say.", panel=EVAL_PANEL),
    ] = None,
    best: Annotated[
        int,
        option(
            "--best",
            metavar="N",
            help="translate: also the choice among N candidates.",
            panel=EVAL_PANEL,
            min=1,
            max=32,
        ),
    ] = 1,
    input_format: rec.InputFormatOpt = rec.InputFormat.AUTO,
    limit: rec.LimitOpt = None,
    # ---- common
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
    """Measure how good models are at a task: on your own data, models and forms side by side.

    Of labels: accuracy, macro-F1, each class, the confusion matrix, whether probabilities mean what
    they say. Of translations against references: chrF, BLEU, loops, wrong languages. Of answers from
    texts (fields context, question, answers): EM, F1, abstention, citations. Of all: records a second,
    and peak memory.

    Examples:

      gptcli eval sentiment reviews.jsonl

      gptcli eval classify tickets.csv --text body --label team -m qwen3-1.7b -m qwen3-4b

      gptcli eval classify tickets.csv --text body --label team --head tickets

      gptcli eval translate pairs.jsonl --text source --label reference --to fr --best 8

      gptcli eval ask squad.jsonl -m qwen3-1.7b -m qwen3-4b
    """
    from gptcli.cli.evaluating import run_eval

    run_eval(context.params, opt.make_output(context.params))
