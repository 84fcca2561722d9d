"""Plain text: a paragraph is a segment, or a line where lines are not wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gptcli.documents.drafts import PROSE, Draft, Piece, protect_text
from gptcli.documents.wrapping import width_of

LINE = re.compile(r"([^\r\n]*)(\r\n?|\n|\Z)")
ITEM = re.compile(r"[ \t\u3000]*(?:(?:[-*+•‣◦–—]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])[ \t]+|[>#]+[ \t]*)?")
WIDTHS = (
    40,
    132,
)  # of wrapped text in columns: shorter lines are lists or verse, longer ones paragraphs
SENTENCE_END = (".", "!", "?", ":", ";", "。", "！", "？")
SLACK = 0.85  # of the width: how early hand-wrapped lines may end


@dataclass(frozen=True, slots=True)
class Line:
    start: int
    text: str
    end: str  # its line end

    @property
    def indent(self) -> str:
        return self.text[: len(self.text) - len(self.text.lstrip())]


def lines_of(text: str, start: int = 0) -> Iterator[Line]:
    for found in LINE.finditer(text, start):
        if found[0]:
            yield Line(found.start(), found[1], found[2])


def read_lines(draft: Draft) -> None:
    """Make every line that is not blank a segment."""
    for line in lines_of(draft.text):
        pieces = protect_text([Piece(line.text, line.text)], PROSE)
        draft.add(line.start, pieces, "line", pattern=PROSE)


def read_text(draft: Draft) -> None:
    """Make paragraphs segments: lines that were wrapped are joined, and wrapped again when written."""
    paragraph: list[Line] = []
    for line in [*lines_of(draft.text), Line(len(draft.text), "", "")]:
        if paragraph and (not line.text.strip() or _begins(line, paragraph)):
            _add_paragraph(draft, paragraph)
            paragraph = []
        if line.text.strip():
            paragraph.append(line)


def _begins(line: Line, before: Sequence[Line]) -> bool:
    """Tell whether a line begins an item or, indented, a paragraph."""
    is_item = bool(_marker(line.text).strip())
    return is_item or (len(before) > 1 and len(line.indent) > len(before[-1].indent))


def _marker(text: str) -> str:
    found = ITEM.match(text)
    return found[0] if found else ""


def _add_paragraph(draft: Draft, lines: Sequence[Line]) -> None:
    if not _is_wrapped(lines):
        for line in lines:
            _add_lines(draft, [line])
    else:
        _add_lines(draft, lines)


def _add_lines(draft: Draft, lines: Sequence[Line]) -> None:
    first = lines[0]
    skipped = len(_marker(first.text))
    body = Line(first.start + skipped, first.text[skipped:], first.end)
    pieces = protect_text(joined_lines([body, *lines[1:]]), PROSE)
    draft.add(body.start, pieces, "paragraph", pattern=PROSE)


def joined_lines(lines: Sequence[Line], *, always_space: bool = False) -> list[Piece]:
    """Return the pieces of lines that are read as one, a space in place of each line end.

    There is none between characters of a script without spaces, unless `always_space`.
    """
    pieces: list[Piece] = []
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        if pieces:
            body = line.text.lstrip()
            indent = line.text[: len(line.text) - len(body)]
            space = pieces.pop()
            pieces.append(Piece(space.text, space.source + indent))
        else:
            body = line.text
        kept = body.rstrip() if following else body
        pieces.append(Piece(kept, kept))
        if following:
            space_between = " " if always_space else _space(kept, following.text)
            pieces.append(Piece(space_between, body[len(kept) :] + line.end))
    return pieces


def _space(before: str, after: str) -> str:
    """Return what a line end stands for: nothing between characters of a script without spaces."""
    ends = (before[-1:], after.lstrip()[:1])
    return "" if all(char and not char.isascii() and width_of(char) == 2 for char in ends) else " "


def _is_wrapped(lines: Sequence[Line]) -> bool:
    """Tell whether each line but the last is full: the next word had no room in it."""
    if len(lines) < 2 or len({line.indent for line in lines[1:]}) > 1:
        return False
    width = max(width_of(line.text.rstrip()) for line in lines)
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        return False
    if all(line.text.rstrip().endswith(SENTENCE_END) for line in lines[:-1]):
        return False
    for line, following in pairwise(lines):
        word = following.text.split(maxsplit=1)[0]
        if width_of(line.text.rstrip()) + 1 + width_of(word) <= width * SLACK:
            return False
    return True
