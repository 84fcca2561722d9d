"""`gptcli generate`: write text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli import sampling_options as smp
from gptcli.cli.options import option

OUTPUT, INPUT = opt.OUTPUT_PANEL, smp.PROMPT_PANEL


class ThinkingMode(StrEnum):
    """What to do with a model's reasoning."""

    SHOW = "show"
    HIDE = "hide"
    OFF = "off"


class OverflowMode(StrEnum):
    """What to do with a text that exceeds the context window."""

    ERROR = "error"
    HEAD = "head"
    TAIL = "tail"
    MIDDLE = "middle"


def generate(
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="What to write, or the text to go on from.")
    ] = None,
    # ---- prompt
    system: smp.SystemOpt = None,
    file: Annotated[
        list[str] | None,
        option(
            "-f",
            "--file",
            metavar="FILE",
            help="A text to work on; repeatable; - is stdin.",
            panel=INPUT,
        ),
    ] = None,
    template: smp.TemplateOpt = None,
    param: smp.ParamOpt = None,
    raw: smp.RawOpt = None,
    overflow: Annotated[
        OverflowMode,
        option(
            "--overflow",
            help="If the text exceeds the context window: fail, or keep a part.",
            panel=INPUT,
        ),
    ] = OverflowMode.ERROR,
    dry_run: Annotated[
        bool, option("--dry-run", help="Print the exact prompt; its token count on stderr.", panel=INPUT)
    ] = False,
    # ---- how much, in what form
    max_tokens: smp.MaxTokensOpt = None,
    words: Annotated[
        int | None,
        option(
            "--words",
            metavar="N",
            help="A long text of about N words, planned and written in sections.",
            panel=OUTPUT,
        ),
    ] = None,
    num: Annotated[int, option("--num", metavar="N", help="N samples.", panel=OUTPUT)] = 1,
    stop: smp.StopOpt = None,
    echo: Annotated[bool, option("--echo", help="Print the prompt too.", panel=OUTPUT)] = False,
    no_stream: Annotated[
        bool, option("--no-stream", help="Print when all is there.", panel=OUTPUT)
    ] = False,
    markdown: Annotated[
        bool | None,
        option(
            "--markdown/--no-markdown",
            help="Show Markdown on a terminal; the default for chat models.",
            panel=OUTPUT,
        ),
    ] = None,
    thinking: Annotated[
        ThinkingMode | None,
        option(
            "--thinking",
            help="Reasoning: on stderr, hidden, or not done (terminals: show).",
            panel=OUTPUT,
        ),
    ] = None,
    logprobs: Annotated[
        int | None,
        option(
            "--logprobs",
            metavar="K",
            help="Log-probability of each token, and of K others.",
            panel=OUTPUT,
        ),
    ] = None,
    json_schema: smp.JsonSchemaOpt = None,
    grammar: smp.GrammarOpt = None,
    choices: smp.ChoicesOpt = None,
    regex: smp.RegexOpt = None,
    # ---- sampling
    temperature: smp.TemperatureOpt = None,
    top_k: smp.TopKOpt = None,
    top_p: smp.TopPOpt = None,
    min_p: smp.MinPOpt = None,
    typical_p: smp.TypicalPOpt = None,
    top_n_sigma: smp.TopNSigmaOpt = None,
    xtc_probability: smp.XtcProbabilityOpt = None,
    xtc_threshold: smp.XtcThresholdOpt = None,
    dynatemp_range: smp.DynatempRangeOpt = None,
    dynatemp_exponent: smp.DynatempExponentOpt = None,
    repeat_penalty: smp.RepeatPenaltyOpt = None,
    repeat_last_n: smp.RepeatLastNOpt = None,
    presence_penalty: smp.PresencePenaltyOpt = None,
    frequency_penalty: smp.FrequencyPenaltyOpt = None,
    dry_multiplier: smp.DryMultiplierOpt = None,
    dry_base: smp.DryBaseOpt = None,
    dry_allowed_length: smp.DryAllowedLengthOpt = None,
    dry_penalty_last_n: smp.DryPenaltyLastNOpt = None,
    mirostat: smp.MirostatOpt = None,
    mirostat_ent: smp.MirostatEntOpt = None,
    mirostat_lr: smp.MirostatLrOpt = None,
    logit_bias: smp.LogitBiasOpt = None,
    seed: opt.SeedOpt = None,
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
    """Write text: go on from a prompt, follow an instruction, work on what is piped in.

    Text on stdin or in -f files is the material, PROMPT the instruction.

    Examples:

      gptcli generate "The quick brown fox"

      git diff | gptcli generate "Write a commit message for this change"

      gptcli generate --template news -p topic="a new bridge" --words 600

      gptcli generate --choices yes,no "Is Rome in Italy? Answer:"
    """
    from gptcli.cli.generating import run_generate

    run_generate(context.params)
