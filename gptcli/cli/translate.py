"""`gptcli translate` and `gptcli detect`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
import typer.core

from gptcli.cli import options as opt
from gptcli.cli import record_options as rec
from gptcli.cli.options import option

TRANSLATION_PANEL = "Translation"


class TranslationFormat(StrEnum):
    """How the input is read, and so written."""

    AUTO = "auto"
    TEXT = "text"
    LINES = "lines"
    MARKDOWN = "markdown"
    HTML = "html"
    SRT = "srt"
    VTT = "vtt"
    PO = "po"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"


def _option(*names: str, help: str, metavar: str | None = None) -> object:
    return option(*names, help=help, metavar=metavar, panel=TRANSLATION_PANEL)


CANDIDATES = "8"


class TranslateCommand(typer.core.TyperCommand):
    """Lets --best stand without a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[str] = []
        for at, each in enumerate(args):
            given.append(each)
            if each == "--best" and not (at + 1 < len(args) and args[at + 1].lstrip("-").isdecimal()):
                given.append(CANDIDATES)
        return super().parse_args(ctx, given)


def translate(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(help="What to translate; else -i FILE, or stdin.")
    ] = None,
    # ---- translation
    to: Annotated[
        str | None,
        _option("--to", metavar="LANG", help="Tag or name: fr, pt-BR, German, 日本語; several: fr,de."),
    ] = None,
    from_: Annotated[
        str, _option("--from", metavar="LANG", help="The source language; auto: detected.")
    ] = "auto",
    best: Annotated[
        int,
        _option(
            "--best", metavar="[N]", help="Choose among N candidates a sentence (8): better, slower."
        ),
    ] = 1,
    glossary: Annotated[
        str | None,
        _option("--glossary", metavar="FILE", help="Terms and their translations: TSV or CSV."),
    ] = None,
    context_size: Annotated[
        int, _option("--context", metavar="N", help="Show the model N segments before and after.")
    ] = 0,
    no_memory: Annotated[
        bool, _option("--no-memory", help="Neither look up nor keep translations.")
    ] = False,
    strict: Annotated[
        bool, _option("--strict", help="Exit 1 if anything is doubtful or left in the source language.")
    ] = False,
    report: Annotated[
        str | None, _option("--report", metavar="FILE", help="Write what is doubtful, and why, as JSON.")
    ] = None,
    dry_run: Annotated[
        bool, _option("--dry-run", help="Count segments, hits of the memory, tokens and time.")
    ] = False,
    # ---- input and output
    input: Annotated[
        list[str] | None,
        option("-i", "--input", metavar="FILE", help="A document; repeatable.", panel=rec.RECORDS_PANEL),
    ] = None,
    output: Annotated[
        str | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to write; {lang} and {name} stand for the target and the input's name.",
            panel=rec.RECORDS_PANEL,
        ),
    ] = None,
    format: Annotated[
        TranslationFormat,
        option(
            "--format",
            help="auto: by the file's name or its beginning; a pipe: lines.",
            panel=rec.RECORDS_PANEL,
        ),
    ] = TranslationFormat.AUTO,
    field: Annotated[
        list[str] | None,
        option(
            "--field",
            metavar="NAME",
            help="CSV, TSV: what to translate; else what reads like text.",
            panel=rec.RECORDS_PANEL,
        ),
    ] = None,
    all_entries: Annotated[
        bool,
        option("--all-entries", help="PO: also what has a translation.", panel=rec.RECORDS_PANEL),
    ] = False,
    jsonl: Annotated[
        bool, option("--jsonl", help="One JSON object a segment.", panel=rec.RECORDS_PANEL)
    ] = False,
    json: Annotated[
        bool,
        option("--json", help="One JSON array; errors as JSON on stderr.", panel=rec.RECORDS_PANEL),
    ] = False,
    # ---- common
    seed: opt.SeedOpt = None,
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
    """Translate text, lines or documents; what is no text stays byte for byte.

    Placeholders, tags, addresses and numbers are counted back. A segment that fails is tried in other
    ways; what still fails stays in the source language, with a warning. Translations are remembered:
    a run that broke off, or a document that was edited, costs only what is new (gptcli memory).

    Examples:

      gptcli translate "Good morning" --to fr

      gptcli translate -i README.md -o README.{lang}.md --to fr,de --glossary terms.tsv

      gptcli translate -i film.srt -o film.es.srt --to Spanish --best 8 --report doubtful.json

      tail -f chat.log | gptcli translate --to en
    """
    from gptcli.cli.translating import run_translate

    run_translate(context.params)


def detect(
    context: typer.Context,
    text: Annotated[
        list[str] | None, typer.Argument(help="Texts; else the lines of -i FILE or stdin.")
    ] = None,
    input: rec.InputOpt = None,
    among: Annotated[
        str | None, option("--among", metavar="LANG,…", help="Only these come into question.")
    ] = None,
    format: rec.FormatOpt = rec.OutputFormat.AUTO,
    json: rec.JsonArrayOpt = False,
    jsonl: rec.JsonLinesOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Tell the language of texts, with its probability: a BCP 47 tag, or und where there is no word.

    Examples:

      gptcli detect "Guten Morgen, wie geht es dir?"

      gptcli detect --jsonl < lines.txt

      gptcli detect -i mails.txt --among en,fr,de --format tsv
    """
    from gptcli.cli.detecting import run_detect

    run_detect(context.params)
