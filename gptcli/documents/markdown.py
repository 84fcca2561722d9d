"""Markdown: the text of headings, paragraphs, table cells, attributes and chosen front matter.

markdown-it tells what is what; the translations are put into the source by place. A translation that
would be read as other markup is escaped, and refused if that does not help.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from gptcli.documents import front_matter, html
from gptcli.documents.document import MARKUP, RefusedError
from gptcli.documents.drafts import Cut, Draft, Piece, one_line, protect_text
from gptcli.documents.markdown_inline import (
    MARKDOWN,
    Environment,
    candidates,
    parser,
    pieces_of,
    reads_as,
    unescaped,
)
from gptcli.documents.plain import Line, lines_of
from gptcli.documents.segments import SegmentKind
from gptcli.documents.wrapping import Run

if TYPE_CHECKING:
    from markdown_it.token import Token

HEADING = re.compile(r"(?:^|[ \t>])#{1,6}[ \t]+")
CONTAINER = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*")
TASK = re.compile(r"\[[ xX]\][ \t]+")
# Lines of their own for other processors: containers, alerts of GitHub, attributes and tags of Jekyll.
NOT_TEXT = re.compile(r":::.*|\[!\w+\][+-]?|\{[:%#].*\}|\([\w.-]+\)=|\[TOC\]|\+\+\+|\\\w+")
# What is put around the inline source of a block to read it alone, and the tokens that it then is.
SHAPES = {
    "paragraph_open": ("", "", ["paragraph_open", "inline", "paragraph_close"]),
    "heading_open": ("# ", "", ["heading_open", "inline", "heading_close"]),
    "setext_heading": ("", "\n===", ["heading_open", "inline", "heading_close"]),
}


def read(draft: Draft, keys: Sequence[str]) -> None:
    """Make the texts of a Markdown document segments; of its front matter those of `keys`."""
    draft.escape = lambda char: f"&#{ord(char)};"
    lines = list(lines_of(draft.text))
    skipped = front_matter.read(draft, lines, keys)
    _Reader(draft, lines, skipped).read()


class _Reader:
    def __init__(self, draft: Draft, lines: Sequence[Line], skipped: int) -> None:
        self._draft, self._lines = draft, lines
        # As markdown-it has it, line by line and character by character.
        bodies = [
            "" if n < skipped else line.text.replace("\0", "\ufffd") for n, line in enumerate(lines)
        ]
        self._bodies = bodies
        self._environment: Environment = {}

    def read(self) -> None:
        markdown, _ = parser()
        tokens = markdown.parse("\n".join(self._bodies), self._environment)
        quotes = 0
        cell = 0
        for place, token in enumerate(tokens):
            quotes += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
            if token.type == "tr_open":
                cell = 0
            elif token.type == "html_block" and token.map and not quotes:
                html.read_range(self._draft, *self._range(*token.map))
            elif token.type == "inline" and token.map:
                around = tokens[place - 1].type
                if around in ("th_open", "td_open"):
                    self._add_cell(token, cell)
                    cell += 1
                else:
                    self._add_block(token, tokens[place - 1], tokens[place - 2].type)

    def _range(self, first: int, end: int) -> tuple[int, int]:
        lines = self._lines[first:end]
        return lines[0].start, lines[-1].start + len(lines[-1].text + lines[-1].end)

    # ------------------------------------------------------------------------------------- blocks

    def _add_block(self, token: Token, opening: Token, outside: str) -> None:
        around = opening.type if opening.markup not in ("=", "-") else "setext_heading"
        first = token.map[0] if token.map else 0
        contents = token.content.split("\n")
        found: list[Line] = []
        for number, content in enumerate(contents, first):
            place = self._place(number, content.strip(), around)
            if place is None:
                if around == "admonition_title_open":  # no title but the default one
                    return
                self._draft.notices.append(f"line {number + 1:,}: kept as it is")
                return
            line = self._lines[number]
            # The spaces at its end may be a line break; those of the last line are no text.
            found.append(Line(line.start + place, line.text[place:][: len(content.lstrip())], line.end))
        kind: SegmentKind = "heading" if "heading" in around else "paragraph"
        kind = "item" if outside in ("list_item_open", "dd_open") or around == "dt_open" else kind
        for is_text, part in groupby(found, lambda line: NOT_TEXT.fullmatch(line.text.strip()) is None):
            if is_text:
                self._add_lines(list(part), kind, around)

    def _place(self, number: int, content: str, around: str) -> int | None:
        """Return the column of a line where its inline source begins."""
        if number >= len(self._bodies):
            return None
        body = self._bodies[number]
        if around == "heading_open" and (marker := HEADING.search(body)):
            if body.startswith(content, marker.end()):
                return marker.end()
            return marker.end() - 1 if not content else None
        if around == "admonition_title_open":
            place = body.find(content)
            return place if place >= 0 else None
        body = body.rstrip()
        return len(body) - len(content) if body.endswith(content) else None

    def _add_lines(self, lines: Sequence[Line], kind: SegmentKind, around: str) -> None:
        first = lines[0]
        task = TASK.match(first.text) if kind == "item" else None
        if task:
            first = Line(first.start + task.end(), first.text[task.end() :], first.end)
        source = _Source([first, *lines[1:]], self._draft.text)
        prefix, suffix, shape = SHAPES.get(around, SHAPES["paragraph_open"])

        def is_block(text: str) -> bool:
            markdown, _ = parser()
            environment = {
                **self._environment,
                "references": dict(self._environment.get("references", {})),
            }
            tokens = markdown.parse(prefix + text + suffix, environment)
            return [token.type for token in tokens] == shape

        self._add_inline(source, kind, is_block)

    def _add_inline(
        self,
        source: _Source,
        kind: SegmentKind,
        is_block: Callable[[str], bool],
        *,
        is_cell: bool = False,
    ) -> None:
        pieces = pieces_of(source.content, source.between, self._environment)
        pieces = self._with_nested(source.start, pieces)
        pieces = protect_text(pieces, MARKDOWN)

        def write(runs: list[Run], found: Cut) -> str:
            def alone(text: str) -> str:  # without what begins the lines of the containers
                return text.replace(found.continuation, "\n") if found.continuation else text

            lead, trail = ("".join(p.source for p in part) for part in (found.lead, found.trail))
            meant = [
                run._replace(text=alone(run.text))
                for run in (*_as_runs(found.lead), *runs, *_as_runs(found.trail))
            ]
            for candidate in candidates(one_line(runs)):
                text = self._draft.rewrapped(_with_pipes(candidate) if is_cell else candidate, found)
                block = alone(lead + text + trail)
                if reads_as(block, meant, self._environment) and is_block(block):
                    return text
            raise RefusedError(MARKUP)

        self._draft.add(source.start, pieces, kind, write, pattern=MARKDOWN)

    def _with_nested(self, start: int, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces, where what holds text itself, as an image does, has it as a segment."""
        found: list[Piece] = []
        for piece in pieces:
            end = start + len(piece.source)
            is_nested = False
            if piece.kind == "image":
                is_nested = self._add_alternative(start, piece.source)
            elif piece.kind == "link" and piece.role == "close":
                is_nested = self._add_title(start, piece.source)
            elif piece.kind == "tag" and piece.source[1:2].isalpha():
                name = re.match(r"<([A-Za-z][\w-]*)", piece.source)
                is_nested = html.add_attributes(self._draft, start, end, name[1].lower() if name else "")
            span = (start, end) if is_nested else None
            found.append(
                Piece(piece.text, piece.source, piece.kind, piece.role, piece.is_shown, span=span)
                if is_nested
                else piece
            )
            start = end
        return found

    def _add_alternative(self, start: int, image: str) -> bool:
        """Make the alternative text of an image a segment, if it is a text without markup."""
        is_titled = self._add_title(start, image)
        end = _closing(image)
        alternative = image[2:end]
        target = image[end:]
        if not alternative.strip() or "\n" in alternative or not target.startswith(("](", "][")):
            return is_titled
        if target == "][]" or re.search(r"[`*_\[\]<]", re.sub(r"\\.", "", alternative)):
            return is_titled

        def encode(value: str) -> str:
            return re.sub(r"([\\`*_\[\]<&!])", r"\\\1", " ".join(value.split()))

        added = self._draft.add_value(
            start + 2,
            start + end,
            unescaped(alternative),
            "attribute",
            encode,
            context="alt",
            pattern=MARKDOWN,
        )
        return is_titled or added is not None

    def _add_title(self, start: int, target: str) -> bool:
        """Make the title of a link or an image a segment."""
        found = re.search(r"""\s("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')\s*\)$""", target)
        if not found:
            return False
        quote = found[1][0]

        def encode(value: str) -> str:
            flat = " ".join(value.split()).replace("\\", "\\\\")
            flat = re.sub(r"&(?=#?\w+;)", r"\\&", flat)
            return quote + flat.replace(quote, "\\" + quote) + quote

        added = self._draft.add_value(
            start + found.start(1),
            start + found.end(1),
            unescaped(found[1][1:-1]),
            "attribute",
            encode,
            context="title",
            pattern=MARKDOWN,
        )
        return added is not None

    # -------------------------------------------------------------------------------------- tables

    def _add_cell(self, token: Token, number: int) -> None:
        line = token.map[0] if token.map else 0
        cells = _cells(self._lines[line])
        if number < len(cells) and cells[number].text.replace("\\|", "|").strip() == token.content:
            source = _Source([cells[number]], self._draft.text)
            self._add_inline(source, "cell", lambda text: "\n" not in text, is_cell=True)


def _as_runs(pieces: Sequence[Piece]) -> list[Run]:
    return [
        Run(piece.text, True) if piece.kind is None else Run(piece.source, False, piece.role)
        for piece in pieces
    ]


def _with_pipes(runs: Sequence[Run]) -> list[Run]:
    """Return runs with the pipes of their text escaped, as in a table."""
    return [Run(re.sub(r"\\?\|", r"\\|", run.text), True) if run.is_text else run for run in runs]


def _closing(image: str) -> int:
    """Return where the alternative text of an image ends."""
    depth = 0
    place = 1
    while place < len(image):
        char = image[place]
        if char == "\\":
            place += 1
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if not depth:
                return place
        place += 1
    return len(image)


def _cells(line: Line) -> list[Line]:
    """Return the cells of a table's row, without the pipes and the spaces around them."""
    prefix = CONTAINER.match(line.text)
    start = prefix.end() if prefix else 0
    row = line.text[start:].rstrip()
    cells = []
    for found in re.finditer(r"(?:[^|]|(?<=\\)\|)+|(?<![^|])(?=\||$)", row):
        text = found[0].strip()
        offset = len(found[0]) - len(found[0].lstrip())
        cells.append(Line(line.start + start + found.start() + offset, text, line.end))
    if cells and row.startswith("|"):
        cells = [cell for cell in cells if cell.start > line.start + start]
    return cells


class _Source:
    """The inline source of a block, without what begins its lines, and where it is in the document."""

    def __init__(self, lines: Sequence[Line], text: str) -> None:
        self._text = text
        self._lines = lines
        self.start = lines[0].start
        bodies = [line.text.replace("\0", "\ufffd") for line in lines]
        self.content = "\n".join(bodies)
        self._starts = [0]
        for body in bodies[:-1]:
            self._starts.append(self._starts[-1] + len(body) + 1)

    def between(self, start: int, end: int) -> str:
        """Return the document's text of a range of the content."""
        return self._text[self._offset(start) : self._offset(end)]

    def _offset(self, place: int) -> int:
        number = bisect_right(self._starts, place) - 1
        return self._lines[number].start + place - self._starts[number]
