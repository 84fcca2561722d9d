"""Options of whatever a model writes: the prompt, what the output must look like, the samplers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from gptcli.cli.options import OUTPUT_PANEL, option
from gptcli.errors import UsageError
from gptcli.output.console import Output
from gptcli.sampling import OutputConstraint, SamplingParams, new_seed

PROMPT_PANEL, SAMPLING_PANEL = "Prompt", "Sampling"
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r", r"\\": "\\"}


def _sampler(name: str, help: str) -> Any:
    return option(name, help=help, panel=SAMPLING_PANEL, metavar="N")


SystemOpt = Annotated[str | None, option("-s", "--system", help="System prompt.", panel=PROMPT_PANEL)]
TemplateOpt = Annotated[
    str | None,
    option(
        "--template",
        metavar="NAME",
        help="A prompt template: news, blog, story …; list shows all.",
        panel=PROMPT_PANEL,
    ),
]
ParamOpt = Annotated[
    list[str] | None,
    option(
        "-p",
        "--param",
        metavar="KEY=VALUE",
        help="A variable of the template; repeatable.",
        panel=PROMPT_PANEL,
    ),
]
RawOpt = Annotated[
    bool | None,
    option(
        "--raw/--no-raw",
        help="Without the chat template; the default for base models.",
        panel=PROMPT_PANEL,
    ),
]
MaxTokensOpt = Annotated[
    int | None,
    option(
        "-n",
        "--max-tokens",
        metavar="N",
        help="At most N tokens (base models: 256).",
        panel=OUTPUT_PANEL,
    ),
]
StopOpt = Annotated[
    list[str] | None,
    option(
        "--stop",
        metavar="S",
        help=r"End before this text; repeatable; \n and \t work.",
        panel=OUTPUT_PANEL,
    ),
]
JsonSchemaOpt = Annotated[
    str | None,
    option(
        "--json-schema", metavar="FILE|JSON", help="Output is JSON of this schema.", panel=OUTPUT_PANEL
    ),
]
GrammarOpt = Annotated[
    str | None,
    option("--grammar", metavar="FILE|GBNF", help="Output follows this grammar.", panel=OUTPUT_PANEL),
]
ChoicesOpt = Annotated[
    str | None, option("--choices", metavar="A,B,C", help="Output is one of these.", panel=OUTPUT_PANEL)
]
RegexOpt = Annotated[
    str | None,
    option("--regex", metavar="R", help="Output matches this expression.", panel=OUTPUT_PANEL),
]

# llama.cpp's names; SamplingParams checks the ranges.
TemperatureOpt = Annotated[
    float | None, _sampler("--temperature", "0: always the likeliest token (0.8).")
]
TopKOpt = Annotated[int | None, _sampler("--top-k", "Only the K likeliest tokens; 0: off (40).")]
TopPOpt = Annotated[
    float | None, _sampler("--top-p", "Only the likeliest that sum to P; 1: off (0.95).")
]
MinPOpt = Annotated[
    float | None, _sampler("--min-p", "Only tokens at least P times the likeliest; 0: off (0.05).")
]
TypicalPOpt = Annotated[float | None, _sampler("--typical-p", "Locally typical sampling; 1: off (1).")]
TopNSigmaOpt = Annotated[
    float | None, _sampler("--top-n-sigma", "Only logits within N sigma of the best; -1: off (-1).")
]
XtcProbabilityOpt = Annotated[
    float | None, _sampler("--xtc-probability", "Chance to exclude top choices; 0: off (0).")
]
XtcThresholdOpt = Annotated[
    float | None, _sampler("--xtc-threshold", "Tokens above it are XTC's top choices (0.1).")
]
DynatempRangeOpt = Annotated[
    float | None, _sampler("--dynatemp-range", "Dynamic temperature, plus or minus; 0: off (0).")
]
DynatempExponentOpt = Annotated[
    float | None, _sampler("--dynatemp-exponent", "How entropy maps to temperature (1).")
]
RepeatPenaltyOpt = Annotated[
    float | None, _sampler("--repeat-penalty", "Against repeated tokens; 1: off (1).")
]
RepeatLastNOpt = Annotated[
    int | None, _sampler("--repeat-last-n", "Tokens the penalties look back; -1: all (64).")
]
PresencePenaltyOpt = Annotated[
    float | None, _sampler("--presence-penalty", "Against tokens seen at all; 0: off (0).")
]
FrequencyPenaltyOpt = Annotated[
    float | None, _sampler("--frequency-penalty", "Against frequent tokens; 0: off (0).")
]
DryMultiplierOpt = Annotated[
    float | None, _sampler("--dry-multiplier", "DRY, against repeated passages; 0: off (0).")
]
DryBaseOpt = Annotated[float | None, _sampler("--dry-base", "DRY's growth per repeated token (1.75).")]
DryAllowedLengthOpt = Annotated[
    int | None, _sampler("--dry-allowed-length", "Repetition that DRY lets pass (2).")
]
DryPenaltyLastNOpt = Annotated[
    int | None, _sampler("--dry-penalty-last-n", "Tokens DRY looks back; -1: all (64).")
]
MirostatOpt = Annotated[int | None, _sampler("--mirostat", "Mirostat 1 or 2; 0: off (0).")]
MirostatEntOpt = Annotated[
    float | None, _sampler("--mirostat-ent", "Mirostat's target entropy, tau (5).")
]
MirostatLrOpt = Annotated[
    float | None, _sampler("--mirostat-lr", "Mirostat's learning rate, eta (0.1).")
]
LogitBiasOpt = Annotated[
    list[str] | None,
    option(
        "--logit-bias",
        metavar="TOKEN±BIAS",
        help='Such as 29905-1 or " yes+2"; repeatable.',
        panel=SAMPLING_PANEL,
    ),
]


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


def task_sampling(params: dict[str, Any]) -> SamplingParams:
    """Return the sampling options, with a seed that is known, so that it can be told."""
    sampling = sampling_params(params)
    return sampling if sampling.seed is not None else replace(sampling, seed=new_seed())


def stop_strings(params: dict[str, Any]) -> tuple[str, ...]:
    """Return the stop strings. Raises UsageError for an empty one."""
    if any(not stop for stop in params["stop"] or ()):
        raise UsageError("--stop must not be empty")
    return tuple(unescape(stop) for stop in params["stop"] or ())


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


def check_constraint(constraint: OutputConstraint, output: Output) -> None:
    """Raise UsageError for a constraint that cannot be met; warn of what a schema asks in vain."""
    from gptcli.engine.grammar import to_gbnf, unsupported_keywords

    to_gbnf(constraint)
    if constraint.kind == "json_schema":
        ignored = ", ".join(unsupported_keywords(constraint.source))
        if ignored:
            output.warning(f"the output may violate these keywords of the schema: {ignored}")
