"""Opens a document: finds its encoding and its format, and what there is to translate in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gptcli.documents.document import Document

DocumentFormat = Literal["text", "lines", "markdown", "html", "srt", "vtt", "po", "json", "csv", "tsv"]
FORMATS: tuple[DocumentFormat, ...] = (
    "text", "lines", "markdown", "html", "srt", "vtt", "po", "json", "csv", "tsv",
)  # fmt: skip


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
    raise NotImplementedError
