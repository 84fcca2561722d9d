"""What must hold for any document, and documents of each format to try it on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from gptcli.documents.document import Document, Rendering
from gptcli.documents.formats import DocumentFormat, DocumentOptions, open_document
from gptcli.documents.segments import Segment

OPTIONS = DocumentOptions(target_language="ru", all_entries=True, columns=["2", "3"])
# Characters that mean something in one of the formats, and some that never do.
LETTERS = "abc xyz  ÄéßЖ中文。、 العر 👩‍🚀 \u00a0"
SPECIAL = "*_`[](){}<>&#|!~^$\\/'\"=+-.:;,%@?\n\t\r\v\u2028 1.2 --> - > # \ufeff"
words = st.text(st.sampled_from(LETTERS), max_size=12)
hostile = st.text(st.sampled_from(LETTERS + SPECIAL), max_size=30)
anything = st.text(max_size=30)


def opened(data: bytes, format: DocumentFormat, options: DocumentOptions = OPTIONS) -> Document:
    return open_document(data, format, options=options)


def assert_identity(data: bytes, document: Document) -> None:
    """Without a translation, and with each text as its own, the bytes come back."""
    assert document.render({}).data == data
    assert document.render([None] * len(document.segments)).data == data
    same = document.render([segment.text for segment in document.segments])
    assert dict(same.refused) == {}
    assert same.data == data
    for segment in document.segments:
        assert not document.check(segment.index, segment.text)


def assert_skeleton(
    document: Document, rendering: Rendering, options: DocumentOptions = OPTIONS
) -> None:
    """Read again, a rendering has the same around its segments, and the same placeholders in them."""
    if document.format == "text":  # where lines are even, nothing tells paragraphs from wrapped lines
        assert paragraphs(rendering.data) == paragraphs(document.render({}).data)
        return
    again = open_document(rendering.data, document.format, options=options)  # type: ignore[arg-type]
    assert again.skeleton == document.skeleton
    assert len(again.segments) == len(document.segments)
    kinds = [(segment.kind, segment.context) for segment in document.segments]
    assert [(segment.kind, segment.context) for segment in again.segments] == kinds


def paragraphs(data: bytes) -> list[str]:
    """Return what the paragraphs of a plain text begin with: white space."""
    text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    blocks = re.split(r"(?:^|\n|\r)[ \t]*(?:\r\n?|\n|$)", text)
    return [re.match(r"[ \t]*", block)[0] for block in blocks]  # type: ignore[index]


def translation(segment: Segment, texts: Sequence[str]) -> str:
    """Return the placeholders of a segment with other texts between them."""
    unused = iter(texts)
    return "".join(
        f"x{next(unused, '')}y z" if isinstance(part, str) else part.shown for part in segment.parts
    )
