"""`gptcli generate`: write text."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gptcli.cli import options as opt
from gptcli.cli.options import option
from gptcli.errors import UsageError
from gptcli.sampling import OutputConstraint, SamplingParams

SAMPLING, OUTPUT, INPUT = "Sampling", opt.OUTPUT_PANEL, "Prompt"
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r", r"\\": "\\"}


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


def _sampler(name: str, help: str) -> Any:
    return option(name, help=help, panel=SAMPLING, metavar="N")


def generate(
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="What to write, or the text to go on from.")
    ] = None,
    # ---- prompt
    system: Annotated[str | None, option("-s", "--system", help="System prompt.", panel=INPUT)] = None,
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
    template: Annotated[
        str | None,
        option(
            "--template",
            metavar="NAME",
            help="A prompt template: news, blog, story …; list shows all.",
            panel=INPUT,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        option(
            "-p",
            "--param",
            metavar="KEY=VALUE",
            help="A variable of the template; repeatable.",
            panel=INPUT,
        ),
    ] = None,
    raw: Annotated[
        bool | None,
        option(
            "--raw/--no-raw", help="Without the chat template; the default for base models.", panel=INPUT
        ),
    ] = None,
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
    max_tokens: Annotated[
        int | None,
        option(
            "-n", "--max-tokens", metavar="N", help="At most N tokens (base models: 256).", panel=OUTPUT
        ),
    ] = None,
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
    stop: Annotated[
        list[str] | None,
        option(
            "--stop",
            metavar="S",
            help=r"End before this text; repeatable; \n and \t work.",
            panel=OUTPUT,
        ),
    ] = None,
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
    json_schema: Annotated[
        str | None,
        option(
            "--json-schema", metavar="FILE|JSON", help="Output is JSON of this schema.", panel=OUTPUT
        ),
    ] = None,
    grammar: Annotated[
        str | None,
        option("--grammar", metavar="FILE|GBNF", help="Output follows this grammar.", panel=OUTPUT),
    ] = None,
    choices: Annotated[
        str | None, option("--choices", metavar="A,B,C", help="Output is one of these.", panel=OUTPUT)
    ] = None,
    regex: Annotated[
        str | None, option("--regex", metavar="R", help="Output matches this expression.", panel=OUTPUT)
    ] = None,
    # ---- sampling: llama.cpp's names, ranges checked by SamplingParams
    temperature: Annotated[
        float | None, _sampler("--temperature", "0: always the likeliest token (0.8).")
    ] = None,
    top_k: Annotated[
        int | None, _sampler("--top-k", "Only the K likeliest tokens; 0: off (40).")
    ] = None,
    top_p: Annotated[
        float | None, _sampler("--top-p", "Only the likeliest that sum to P; 1: off (0.95).")
    ] = None,
    min_p: Annotated[
        float | None, _sampler("--min-p", "Only tokens at least P times the likeliest; 0: off (0.05).")
    ] = None,
    typical_p: Annotated[
        float | None, _sampler("--typical-p", "Locally typical sampling; 1: off (1).")
    ] = None,
    top_n_sigma: Annotated[
        float | None, _sampler("--top-n-sigma", "Only logits within N sigma of the best; -1: off (-1).")
    ] = None,
    xtc_probability: Annotated[
        float | None, _sampler("--xtc-probability", "Chance to exclude top choices; 0: off (0).")
    ] = None,
    xtc_threshold: Annotated[
        float | None, _sampler("--xtc-threshold", "Tokens above it are XTC's top choices (0.1).")
    ] = None,
    dynatemp_range: Annotated[
        float | None, _sampler("--dynatemp-range", "Dynamic temperature, plus or minus; 0: off (0).")
    ] = None,
    dynatemp_exponent: Annotated[
        float | None, _sampler("--dynatemp-exponent", "How entropy maps to temperature (1).")
    ] = None,
    repeat_penalty: Annotated[
        float | None, _sampler("--repeat-penalty", "Against repeated tokens; 1: off (1).")
    ] = None,
    repeat_last_n: Annotated[
        int | None, _sampler("--repeat-last-n", "Tokens the penalties look back; -1: all (64).")
    ] = None,
    presence_penalty: Annotated[
        float | None, _sampler("--presence-penalty", "Against tokens seen at all; 0: off (0).")
    ] = None,
    frequency_penalty: Annotated[
        float | None, _sampler("--frequency-penalty", "Against frequent tokens; 0: off (0).")
    ] = None,
    dry_multiplier: Annotated[
        float | None, _sampler("--dry-multiplier", "DRY, against repeated passages; 0: off (0).")
    ] = None,
    dry_base: Annotated[
        float | None, _sampler("--dry-base", "DRY's growth per repeated token (1.75).")
    ] = None,
    dry_allowed_length: Annotated[
        int | None, _sampler("--dry-allowed-length", "Repetition that DRY lets pass (2).")
    ] = None,
    dry_penalty_last_n: Annotated[
        int | None, _sampler("--dry-penalty-last-n", "Tokens DRY looks back; -1: all (64).")
    ] = None,
    mirostat: Annotated[int | None, _sampler("--mirostat", "Mirostat 1 or 2; 0: off (0).")] = None,
    mirostat_ent: Annotated[
        float | None, _sampler("--mirostat-ent", "Mirostat's target entropy, tau (5).")
    ] = None,
    mirostat_lr: Annotated[
        float | None, _sampler("--mirostat-lr", "Mirostat's learning rate, eta (0.1).")
    ] = None,
    logit_bias: Annotated[
        list[str] | None,
        option(
            "--logit-bias",
            metavar="TOKEN±BIAS",
            help='Such as 29905-1 or " yes+2"; repeatable.',
            panel=SAMPLING,
        ),
    ] = None,
    seed: opt.SeedOpt = None,
    # ---- common
    model: opt.ModelOpt = None,
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    parallel: opt.ParallelOpt = "auto",
    offline: opt.OfflineOpt = False,
    json: opt.JsonOpt = False,
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


def sampling_params(params: dict[str, Any]) -> SamplingParams:
    """Return the sampling options of a command. Raises UsageError for values out of range."""
    names = {name for name in SamplingParams.__dataclass_fields__ if name in params}
    values = {name: params[name] for name in names - {"logit_bias"}}
    biases = tuple(parse_logit_bias(text) for text in params.get("logit_bias") or ())
    return SamplingParams(**values, logit_bias=biases)


def parse_logit_bias(text: str) -> tuple[int | str, float]:
    """Return (token id or text, bias) from llama.cpp's form TOKEN+BIAS or TOKEN-BIAS."""
    found = re.fullmatch(r"(.+?)([+-](?:\d+(?:\.\d+)?|inf))", text, re.DOTALL)
    if found is None:
        raise UsageError(f"--logit-bias must be TOKEN+BIAS or TOKEN-BIAS, not {text!r}")
    token = found[1]
    return int(token) if token.isascii() and token.isdigit() else token, float(found[2])


def output_constraint(params: dict[str, Any]) -> OutputConstraint | None:
    """Return what the output must look like, compiled once to see that it can be.

    Raises UsageError when more than one form is asked for, or one does not parse.
    """
    from gptcli.cli.material import read_text

    kinds = ("json_schema", "grammar", "choices", "regex")
    asked = [kind for kind in kinds if params[kind] is not None]
    if not asked:
        return None
    if len(asked) > 1:
        names = " and ".join(f"--{kind.replace('_', '-')}" for kind in asked)
        raise UsageError(f"{names} exclude each other")
    kind, value = asked[0], params[asked[0]]
    if kind == "choices":
        constraint = OutputConstraint(
            "choices", choices=tuple(part.strip() for part in value.split(","))
        )
    elif kind == "regex":
        constraint = OutputConstraint("regex", value)
    elif kind == "grammar":
        constraint = OutputConstraint("grammar", value if "::=" in value else read_text(value))
    else:
        is_json = value.lstrip().startswith("{") or value.strip() in ("true", "false")
        constraint = OutputConstraint("json_schema", value if is_json else read_text(value))
    return constraint


def unescape(text: str) -> str:
    """Return text with its backslash escapes for line ends and tabs resolved."""
    return re.sub(r"\\[ntr\\]", lambda found: ESCAPES[found[0]], text)


def template_values(params: list[str] | None) -> dict[str, str]:
    """Return the template's variables from KEY=VALUE; VALUE may be @FILE."""
    from gptcli.cli.material import read_text

    values = {}
    for text in params or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--param must be KEY=VALUE, not {text!r}")
        is_file = value.startswith("@") and Path(value[1:]).is_file()
        values[key.strip()] = read_text(value[1:]) if is_file else value
    return values
