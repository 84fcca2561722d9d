"""The checker of benchmarks/documents.py sees what a translation lost."""

from __future__ import annotations

import pytest

from benchmarks.documents import KINDS, kept_of, skeleton_of
from gptcli.documents.document import Document
from gptcli.documents.formats import DocumentFormat, DocumentOptions, open_document

MARKDOWN = (
    "# In 2024\n\nRun `make` 1,000 times, see <b>all</b> of {{name}} at https://a.b/c now.\n\n***\n"
)


def opened(text: str, format: DocumentFormat = "markdown") -> Document:
    options = DocumentOptions(target_language="fr", all_entries=True)
    return open_document(text.encode(), format, options=options)


def lost(source: Document, translation: Document) -> dict[str, int]:
    kept = {kind: kept_of(kind, source, translation) for kind in KINDS}
    kept["skeleton"] = skeleton_of(source, translation)
    return {kind: len(each.lost) for kind, each in kept.items() if each.lost}


def test_a_whole_translation_lost_nothing() -> None:
    translation = MARKDOWN.replace("Run", "Lancez").replace("1,000", "1 000").replace(" now", "")

    assert lost(opened(MARKDOWN), opened(translation)) == {}


@pytest.mark.parametrize(
    ("gone", "kinds"),
    [
        ("2024", {"numbers": 1}),
        ("1,000", {"numbers": 1}),
        ("`make`", {"code": 1}),
        ("</b>", {"tags": 1}),
        ("{{name}}", {"placeholders": 1}),
        ("https://a.b/c", {"addresses": 1}),
        ("\n\n***\n", {"skeleton": 2}),
        ("# ", {"skeleton": 2}),
    ],
)
def test_what_is_gone_is_lost(gone: str, kinds: dict[str, int]) -> None:
    assert lost(opened(MARKDOWN), opened(MARKDOWN.replace(gone, ""))) == kinds


def test_messages_are_compared_with_their_translations() -> None:
    entry = 'msgid "%d of %s"\nmsgstr "{}"\n'

    assert lost(opened(entry.format(""), "po"), opened(entry.format("%d von %s"), "po")) == {}
    assert lost(opened(entry.format(""), "po"), opened(entry.format("%d"), "po")) == {"placeholders": 1}
