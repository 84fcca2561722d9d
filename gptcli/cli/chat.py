"""`gptcli chat`: a conversation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli import sampling_options as smp
from gptcli.cli.options import option

CHAT, OUTPUT = "Conversation", opt.OUTPUT_PANEL


class ThinkingMode(StrEnum):
    """What to do with a model's reasoning."""

    SHOW = "show"
    FOLD = "fold"
    HIDE = "hide"
    OFF = "off"


def complete_chat(incomplete: str) -> list[tuple[str, str]]:
    """Return the chats whose id begins so, with their titles."""
    from gptcli.cli.logs.reading import known_ids

    return list(known_ids(incomplete))


def chat(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="The first message.")] = None,
    continue_: Annotated[
        bool, option("-c", "--continue", help="Go on with the last chat.", panel=CHAT)
    ] = False,
    cid: Annotated[
        str | None,
        option(
            "--cid",
            metavar="ID",
            help="Go on with this chat: the beginning of its id, or its title.",
            panel=CHAT,
            autocompletion=complete_chat,
        ),
    ] = None,
    system: smp.SystemOpt = None,
    file: Annotated[
        list[str] | None,
        option("-f", "--file", metavar="FILE", help="A text for the first message.", panel=CHAT),
    ] = None,
    vi: Annotated[bool, option("--vi", help="Edit lines with vi's keys.", panel=CHAT)] = False,
    max_tokens: smp.MaxTokensOpt = None,
    stop: smp.StopOpt = None,
    markdown: Annotated[
        bool | None,
        option("--markdown/--no-markdown", help="Show Markdown on a terminal.", panel=OUTPUT),
    ] = None,
    thinking: Annotated[
        ThinkingMode | None,
        option("--thinking", help="Reasoning: shown, as one line, hidden, or not done.", panel=OUTPUT),
    ] = None,
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
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
    no_log: opt.NoLogOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Talk with a model. Chats are kept; /? shows what can be typed.

    In a pipe, each line is a message, and each answer follows at once.

    Examples:

      gptcli chat -m qwen3.5-2b

      gptcli chat -c "And what was it called before?"

      printf 'My name is Ann.\\nWhat is my name?\\n' | gptcli chat --json
    """
    from gptcli.cli.chatting import run_chat

    run_chat(context.params, model_is_given=opt.is_on_command_line(context, "model"))
