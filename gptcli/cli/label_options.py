"""Options of the commands that label texts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gptcli.cli.options import option
from gptcli.cli.record_options import RECORDS_PANEL

LABELS_PANEL = "Labels"


class LabelFormat(StrEnum):
    """How labels are written."""

    AUTO = "auto"
    TABLE = "table"
    PLAIN = "plain"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"


TextsArg = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEXT]…", help="Texts; else the records of --input or stdin."),
]
LabelFormatOpt = Annotated[
    LabelFormat,
    option(
        "--format",
        help="auto: a table on a terminal, else as the input, lines as plain labels.",
        panel=RECORDS_PANEL,
    ),
]
OutputFieldOpt = Annotated[
    str | None,
    option(
        "--output-field",
        metavar="NAME",
        help="Write NAME, NAME_score, NAME_scores in place of label, score, scores.",
        panel=RECORDS_PANEL,
    ),
]
MinConfidenceOpt = Annotated[
    float | None,
    option(
        "--min-confidence",
        metavar="P",
        help="Mark labels below this probability; of a single text: exit 7.",
        panel=LABELS_PANEL,
    ),
]
TopOpt = Annotated[
    int | None,
    option(
        "--top", metavar="K", help="Only the K likeliest labels' scores, in order.", panel=LABELS_PANEL
    ),
]
ExplainOpt = Annotated[
    bool,
    option("--explain", help="Which words carry the label: each left out in turn.", panel=LABELS_PANEL),
]
SentencesOpt = Annotated[
    bool, option("--sentences", help="A label for each sentence too.", panel=LABELS_PANEL)
]
CalibrationOpt = Annotated[
    bool,
    option(
        "--calibration/--no-calibration",
        help="Undo the model's liking for a label; measured once a model, and kept.",
        panel=LABELS_PANEL,
    ),
]
