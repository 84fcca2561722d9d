"""What `gptcli detect` does with its options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gptcli.cli.options import make_output
from gptcli.cli.record_files import opened_source
from gptcli.documents.records import TEXT_FIELD
from gptcli.errors import GptcliError
from gptcli.languages import find_language
from gptcli.output.console import Output
from gptcli.output.records import record_writer
from gptcli.output.tables import print_table
from gptcli.tasks.detect import UNKNOWN, Detection, detect

Params = dict[str, Any]
FIELDS = ("language", "name", "probability")


def run_detect(params: Params) -> None:
    """Run the command: a line in is a line out, at once."""
    output = make_output(params)
    among = [find_language(each).primary for each in (params["among"] or "").split(",") if each.strip()]
    if params["text"]:
        _show(params, output, among, params["text"])
        return
    source_params = {**params, "input_format": "lines", "limit": None}
    with opened_source(source_params) as source:
        texts = (str(record.fields.get(TEXT_FIELD, "")) for record in source.records)
        _show(params, output, among, texts)


def _show(params: Params, output: Output, among: list[str], texts: Iterable[str]) -> None:
    asked = [name for name in ("json", "jsonl") if params[name]]
    format: Any = asked[0] if asked else params["format"]
    if format == "auto" and output.stdout_is_tty:
        rows = [
            (fields["language"], fields["name"], f"{fields['probability']:.0%}", text)
            for text, fields in _detected(output, among, texts)
        ]
        print_table(output, (*FIELDS, TEXT_FIELD), rows)
        return
    if format in ("auto", "plain"):
        for _, fields in _detected(output, among, texts):
            output.write(f"{fields['language']}\t{fields['probability']:.3f}\n")
        return
    writer = record_writer(format, FIELDS, (TEXT_FIELD,))
    output.write(writer.head())
    for text, fields in _detected(output, among, texts):
        output.write(writer.record({TEXT_FIELD: text}, fields))
    output.write(writer.tail())


def _detected(
    output: Output, among: list[str], texts: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for text in texts:
        found = detect(text, among)
        if found.language != UNKNOWN and not found.is_sure:
            output.note(f"unsure of {text[:40]!r}: also {_others(found)}")
        yield (
            text,
            {
                "language": found.language,
                "name": _name(found.language),
                "probability": round(found.probability, 4),
            },
        )


def _others(found: Detection) -> str:
    return ", ".join(f"{tag} ({share:.0%})" for tag, share in found.others if share >= 0.01)


def _name(tag: str) -> str | None:
    if tag == UNKNOWN:
        return None
    try:
        return find_language(tag).name
    except GptcliError:
        return tag
