"""`gptcli map`: one answer per record."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli import sampling_options as smp
from gptcli.cli.options import option


class MapThinking(StrEnum):
    """What to do with a model's reasoning."""

    HIDE = "hide"
    OFF = "off"


def map_command(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEMPLATE]", help="The prompt; {name} is the record's field of that name."
        ),
    ] = None,
    # ---- records
    input: rec.InputOpt = None,
    output: rec.OutputOpt = None,
    input_format: rec.InputFormatOpt = rec.InputFormat.AUTO,
    field: rec.FieldOpt = None,
    format: rec.FormatOpt = rec.OutputFormat.AUTO,
    json: rec.JsonArrayOpt = False,
    jsonl: rec.JsonLinesOpt = False,
    output_field: Annotated[
        str,
        option(
            "--output-field", metavar="NAME", help="The field of the answer.", panel=rec.RECORDS_PANEL
        ),
    ] = "answer",
    resume: rec.ResumeOpt = False,
    overwrite: rec.OverwriteOpt = False,
    limit: rec.LimitOpt = None,
    dry_run: Annotated[
        bool,
        option("--dry-run", help="Print the first prompts, count the records.", panel=rec.RECORDS_PANEL),
    ] = False,
    # ---- prompt
    system: smp.SystemOpt = None,
    template: smp.TemplateOpt = None,
    param: smp.ParamOpt = None,
    raw: smp.RawOpt = None,
    # ---- how much, in what form
    max_tokens: smp.MaxTokensOpt = None,
    stop: smp.StopOpt = None,
    thinking: Annotated[
        MapThinking, option("--thinking", help="Reasoning: hidden, or not done.", panel=opt.OUTPUT_PANEL)
    ] = MapThinking.HIDE,
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
    no_log: opt.NoLogOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Ask the same of every record of a file or a pipe: lines, JSONL, CSV or TSV.

    A record in is a record out, in order, at once; one that fails is marked, and the others go on.

    Examples:

      gptcli map 'Summarise: {text}' -i reviews.csv --field review -o out.csv

      tail -f app.log | gptcli map 'Explain this line: {text}' --input-format lines

      gptcli map '{title}: {body}' -i news.jsonl --json-schema entities.json -o out.jsonl

      gptcli map 'Summarise: {text}' -i reviews.csv --field review -o out.csv --resume
    """
    from gptcli.cli.mapping import run_map

    run_map(context.params)
