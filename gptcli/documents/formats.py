"""Opens a document: finds its encoding and its format, and what there is to translate in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from gptcli.documents.document import Document, DocumentError
from gptcli.documents.drafts import BrokenError, Draft
from gptcli.documents.encodings import decode

DocumentFormat = Literal["text", "lines", "markdown", "html", "srt", "vtt", "po", "json", "csv", "tsv"]
FORMATS: tuple[DocumentFormat, ...] = (
    "text", "lines", "markdown", "html", "srt", "vtt", "po", "json", "csv", "tsv",
)  # fmt: skip
SUFFIXES: Mapping[str, DocumentFormat] = {
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".mkd": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".srt": "srt",
    ".vtt": "vtt",
    ".po": "po",
    ".pot": "po",
    ".json": "json",
    ".arb": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}
BEGINNINGS: tuple[tuple[DocumentFormat, re.Pattern[str]], ...] = (
    ("vtt", re.compile(r"WEBVTT(?:\s|\Z)")),
    ("srt", re.compile(r"\s*\d+[ \t]*\r?\n\d\d?:\d\d:\d\d[,.]\d+[ \t]*-->")),
    ("html", re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)),
    ("po", re.compile(r'(?:\s*(?:#[^\n]*)?\n)*msg(?:id|ctxt)[ \t]+"')),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentOptions:
    """What a format may need to be told. Each option concerns the formats in its comment."""

    target_language: str = ""  # po: a BCP 47 tag; decides the plural forms
    all_entries: bool = False  # po: also those that have a translation that is not fuzzy
    columns: Sequence[str] = ()  # csv, tsv: names, or numbers from 1; none: those that hold prose
    front_matter: Sequence[str] = ("title", "description", "summary", "subtitle", "excerpt")  # markdown
    cue_width: int = 42  # srt, vtt: columns of a line


def open_document(
    data: bytes,
    format: DocumentFormat | Literal["auto"] = "auto",
    *,
    name: str = "",
    options: DocumentOptions | None = None,
) -> Document:
    """Return the document that `data` is. With "auto", the ending of `name` or else the text says what.

    Raises DocumentError for a binary file, and with the line for one that is broken. Where a broken
    part can be kept as it is, it is kept, and Document.notices says so.
    """
    decoded = decode(data)
    if decoded is None:
        raise DocumentError(f"{name or 'the input'} is a binary file, not text")
    found = detect_format(decoded.text, name) if format == "auto" else format
    draft = Draft(decoded.text)
    try:
        _read(draft, found, options or DocumentOptions())
    except BrokenError as error:
        raise DocumentError(
            f"{name or 'the input'} is not {found}: {error} (line {error.line:,})", line=error.line
        ) from error
    return Document(
        decoded,
        found,
        draft.segments,
        draft.patches,
        draft.notices,
        escape=draft.escape,
        recode=draft.recode,
    )


def detect_format(text: str, name: str = "") -> DocumentFormat:
    """Return the format that the ending of a name or else the beginning of the text tells."""
    suffix = PurePath(name).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    for format, beginning in BEGINNINGS:
        if beginning.match(text):
            return format
    return "text"


def _read(draft: Draft, format: DocumentFormat, options: DocumentOptions) -> None:
    """Find the segments of a text. A format's module is imported when it is needed."""
    match format:
        case "text" | "lines":
            from gptcli.documents import plain

            plain.read_lines(draft) if format == "lines" else plain.read_text(draft)
        case "markdown":
            from gptcli.documents import markdown

            markdown.read(draft, options.front_matter)
        case "html":
            from gptcli.documents import html

            html.read(draft)
        case "srt" | "vtt":
            from gptcli.documents import subtitles

            subtitles.read(draft, format, options.cue_width)
        case "po":
            from gptcli.documents import po

            po.read(draft, options.target_language, all_entries=options.all_entries)
        case "json":
            from gptcli.documents import messages

            messages.read(draft)
        case "csv" | "tsv":
            from gptcli.documents import cells

            cells.read(draft, format, options.columns)
