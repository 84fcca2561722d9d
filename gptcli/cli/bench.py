"""`gptcli bench`: how fast models are on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli.options import option

MEASURE, KEPT = "What to measure", "Kept runs"


def whole_spec(context: typer.Context, value: list[str] | None) -> list[str] | None:
    # GPTCLI_MODEL is one model, perhaps a path with spaces: a repeatable option would split it.
    source = context.get_parameter_source("model")
    if source is not None and source.name == "ENVIRONMENT":
        return [os.environ["GPTCLI_MODEL"]]
    return value


def bench(
    context: typer.Context,
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
    # ---- what to measure
    batch: Annotated[
        str, option("--batch", metavar="N,N…", help="How many requests at once.", panel=MEASURE)
    ] = "1,2,4,8,16,32",
    prompt_tokens: Annotated[
        # In fewer, prompts would not differ.
        int, option("--prompt-tokens", min=8, help="Tokens of each prompt.", panel=MEASURE)
    ] = 512,
    tokens: Annotated[int, option("--tokens", min=2, help="Tokens of each answer.", panel=MEASURE)] = 64,
    repeat: Annotated[
        int, option("--repeat", min=1, help="Measure so many times: the median counts.", panel=MEASURE)
    ] = 3,
    # ---- kept runs
    list: Annotated[bool, option("--list", help="Show the runs that were kept.", panel=KEPT)] = False,
    compare: Annotated[
        str | None,
        option(
            "--compare",
            metavar="RUN|last",
            help="Compare with a kept run, or the model's last one.",
            panel=KEPT,
        ),
    ] = None,
    no_save: Annotated[bool, option("--no-save", help="Do not keep the results.", panel=KEPT)] = False,
    # ---- common
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Measure how many tokens a second a model reads and writes, alone and with many requests at once.

    Results are kept in the data directory. Ctrl-C keeps what was measured until then.

    Examples:

      gptcli bench

      gptcli bench -m qwen3-1.7b -m qwen3-4b --batch 1,8,32

      gptcli bench --compare last
    """
    from gptcli.cli.benching import run_bench

    run_bench(context.params, opt.make_output(context.params))
