"""Options of commands that work on records: where they come from, where they go, in what form."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from gptcli.cli.options import option

RECORDS_PANEL = "Records"


class InputFormat(StrEnum):
    """How records are read."""

    AUTO = "auto"
    LINES = "lines"
    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"


class OutputFormat(StrEnum):
    """How records are written."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PLAIN = "plain"
    JSON = "json"


InputOpt = Annotated[
    str | None,
    option("-i", "--input", metavar="FILE", help="The records; else stdin.", panel=RECORDS_PANEL),
]
OutputOpt = Annotated[
    str | None,
    option("-o", "--output", metavar="FILE", help="Where to write; else stdout.", panel=RECORDS_PANEL),
]
InputFormatOpt = Annotated[
    InputFormat,
    option("--input-format", help="auto: by the file's name, or what is in it.", panel=RECORDS_PANEL),
]
FieldOpt = Annotated[
    str | None,
    option("--field", metavar="NAME", help="The field that is {text}.", panel=RECORDS_PANEL),
]
FormatOpt = Annotated[
    OutputFormat,
    option("--format", help="auto: as the input, lines as plain text.", panel=RECORDS_PANEL),
]
JsonArrayOpt = Annotated[
    bool,
    option("--json", help="One JSON array; errors as JSON on stderr.", panel=RECORDS_PANEL),
]
JsonLinesOpt = Annotated[bool, option("--jsonl", help="One JSON object a line.", panel=RECORDS_PANEL)]
ResumeOpt = Annotated[
    bool, option("--resume", help="Go on with a run that broke off.", panel=RECORDS_PANEL)
]
OverwriteOpt = Annotated[
    bool, option("--overwrite", help="Replace the output file.", panel=RECORDS_PANEL)
]
LimitOpt = Annotated[
    int | None,
    option("--limit", metavar="N", help="Only the first N records.", panel=RECORDS_PANEL),
]
