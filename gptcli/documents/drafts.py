"""How a format says what it found: pieces of text and of markup become segments and patches."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gptcli.documents.document import Patch
from gptcli.documents.segments import (
    Placeholder,
    PlaceholderKind,
    Role,
    Segment,
    SegmentKind,
    numbered_tags,
    split_at,
)
from gptcli.documents.wrapping import SPACE, WHITESPACE, Run, fill, units, width_of

LINE_END = re.compile(r"\r\n?|\n")
SHOWN_CHARACTERS = 60  # of a placeholder shown as it is; a longer one is a numbered tag
OUTER: tuple[PlaceholderKind, ...] = ("tag", "image", "break", "bytes")  # need no place in a sentence

# No space flag: "100 % sure" is no printf conversion.
_PRINTF = (
    r"%(?:\d+\$)?(?:\([\w.-]+\)|<\w+>)?[-+#0']*(?:\*|\d+)?(?:\.(?:\*|\d+))?"
    r"(?:hh?|ll?|[qjzt])?[diouxXeEfFgGaAcsprn@]|%%|%[1-9]\d?(?!\d)"
)
UNNAMED = re.compile(r"%(?![(<%{]|\d+\$|\d+$)")  # takes the next argument
_URL = (  # ASCII only: text in scripts without spaces may follow at once
    r"(?:https?|ftp)://[!#-&(-;=?-_a-z~]*[A-Za-z0-9_/#=&%$~]"
    r"|(?<![\w.])www\.[A-Za-z0-9_-]+\.[A-Za-z0-9_./?=&%#~-]*[A-Za-z0-9_/]"
)
_EMAIL = r"[A-Za-z0-9_.+-]+@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+"
_BYTES = r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]+"
_TEMPLATE = r"\{\{\{?.*?\}?\}\}|\{%.*?%\}|\$\{[^{}\s]*\}"
_BRACES = r"%?\{[\w.$!-]*(?:\[[^\[\]{}]*\])?(?:![rsa])?(?::[^{}\s]*)?\}|\$t\([^()]*\)|@:[\w.]+"
_TAG = r"</?[A-Za-z0-9][^<>]*>|<!--.*?-->"
_ENTITY = r"&(?:[A-Za-z]\w{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});"

_KINDS: dict[str, PlaceholderKind] = {"url": "url", "bytes": "bytes", "tag": "tag"}  # else variable


def _any_group(**patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{name}>{each})" for name, each in patterns.items()), re.DOTALL)


# What is protected in texts for readers, and in the messages of programs.
PROSE = _any_group(url=f"{_URL}|{_EMAIL}", bytes=_BYTES, variable=_TEMPLATE)
MESSAGE = _any_group(
    tag=_TAG,
    url=f"{_URL}|{_EMAIL}",
    bytes=_BYTES,
    variable=f"{_TEMPLATE}|{_PRINTF}|{_BRACES}|{_ENTITY}",
)


class BrokenError(Exception):
    """The text is not what its format says; `line` is where, from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the source: text as a reader sees it, or, with a kind, a placeholder."""

    text: str
    source: str
    kind: PlaceholderKind | None = None
    role: Role = "single"
    is_shown: bool = True  # as it is, if that is short and cannot be confused; else a numbered tag
    is_optional: bool = False
    is_ordered: bool = False
    span: tuple[int, int] | None = None
    written: str | None = None  # what a placeholder writes, if that is not its source


def text_piece(text: str) -> Piece:
    return Piece(text, text)


def protected(text: str, pattern: re.Pattern[str]) -> Iterator[Piece]:
    """Yield a text's pieces: what the pattern finds are placeholders, by the name of its group."""
    end = 0
    for found in pattern.finditer(text):
        if not found[0]:
            continue
        if found.start() > end:
            yield text_piece(text[end : found.start()])
        kind = _KINDS.get(found.lastgroup or "", "variable")
        role: Role = _role(found[0]) if kind == "tag" else "single"
        is_shown = kind != "tag" or len(found[0]) <= 12
        ordered = kind == "variable" and UNNAMED.match(found[0]) is not None
        shown = is_shown and kind != "bytes"
        yield Piece(found[0], found[0], kind, role, shown, is_ordered=ordered)
        end = found.end()
    if end < len(text):
        yield text_piece(text[end:])


def protect_text(pieces: Sequence[Piece], pattern: re.Pattern[str]) -> list[Piece]:
    """Return pieces with the placeholders found within their texts, where those are as in the source."""
    found: list[Piece] = []
    for piece in pieces:
        if piece.kind is None and piece.text == piece.source:
            found.extend(protected(piece.text, pattern))
        else:
            found.append(piece)
    return found


def _role(tag: str) -> Role:
    if tag.startswith("</"):
        return "close"
    is_void = re.match(r"<(?:br|hr|img|input|wbr|!--)\b|<[\d:.]+>|<!--", tag, re.IGNORECASE)
    return "single" if is_void or tag.endswith("/>") else "open"


@dataclass(frozen=True, slots=True)
class Cut:
    """Pieces with what stands around their text cut off; `start` is where the core begins."""

    lead: list[Piece]
    core: list[Piece]
    trail: list[Piece]
    start: int

    @property
    def end(self) -> int:
        return self.start + sum(len(piece.source) for piece in self.core)

    @property
    def line_end(self) -> str:
        """What begins the second line of the core: the line end and the indent; "" for one line."""
        return _second_line(piece for piece in self.core if piece.kind in (None, "break"))

    @property
    def continuation(self) -> str:
        """The same, where a placeholder may be what goes over the line end."""
        return self.line_end or _second_line(self.core)


def _second_line(pieces: Iterable[Piece]) -> str:
    for piece in pieces:
        if found := LINE_END.search(piece.source):
            after = piece.source[found.end() :]
            return found[0] + after[: len(after) - len(after.lstrip("> \t"))]
    return ""


def cut(pieces: Sequence[Piece], start: int = 0) -> Cut | None:
    """Return the pieces that make up a text to translate, None if there is no letter in them."""
    core = _with_true_roles([piece for piece in pieces if piece.source])
    if not any(char.isalpha() for piece in core if piece.kind is None for char in piece.text):
        return None
    lead: list[Piece] = []
    trail: list[Piece] = []
    partners = _partners(core)
    first, last = 0, len(core)
    while True:
        before = first, last
        if partners.get(first) == last - 1 > first and core[last - 1].written is None:
            first, last = first + 1, last - 1
        first = _after_outer(core, first, partners)
        last = _before_outer(core, last, partners)
        if before == (first, last):
            break
    lead, trail, core = core[:first], core[last:], core[first:last]
    head, core[0] = _split_space(core[0])
    core[-1], tail = _split_space(core[-1], at_end=True)
    lead += [head] if head.source else []
    trail[:0] = [tail] if tail.source else []
    return Cut(lead, core, trail, start + sum(len(piece.source) for piece in lead))


def _after_outer(core: Sequence[Piece], first: int, partners: dict[int, int]) -> int:
    """Return where the text begins, behind white space and what needs no place in a sentence."""
    piece = core[first]
    end = partners.get(first, first) + 1
    if piece.kind is None:
        return first if piece.text.strip(SPACE) else first + 1
    return end if end > first and _is_outer(core[first:end]) else first


def _before_outer(core: Sequence[Piece], last: int, partners: dict[int, int]) -> int:
    piece = core[last - 1]
    start = partners.get(last - 1, last - 1)
    if piece.kind is None:
        return last if piece.text.strip(SPACE) else last - 1
    return start if start < last and _is_outer(core[start:last]) else last


def _is_outer(pieces: Sequence[Piece]) -> bool:
    return all(
        piece.kind in OUTER or (piece.kind is None and not piece.text.strip(SPACE)) for piece in pieces
    )


def _partners(pieces: Sequence[Piece]) -> dict[int, int]:
    """Return for each end of a pair the place of the other."""
    opened: list[int] = []
    partners = {}
    for place, piece in enumerate(pieces):
        if piece.role == "open":
            opened.append(place)
        elif piece.role == "close" and opened:
            partners[place] = opened.pop()
            partners[partners[place]] = place
    return partners


def _with_true_roles(pieces: Sequence[Piece]) -> list[Piece]:
    """Return pieces where an end of a pair without its other end stands for itself."""
    partners = _partners(pieces)
    return [
        piece if piece.role == "single" or place in partners else replace(piece, role="single")
        for place, piece in enumerate(pieces)
    ]


def _split_space(piece: Piece, *, at_end: bool = False) -> tuple[Piece, Piece]:
    """Return a text in two: the white space at its start, or at its end, and the rest."""

    def split(text: str) -> tuple[str, str]:
        kept = len(text.rstrip(SPACE)) if at_end else len(text) - len(text.lstrip(SPACE))
        return text[:kept], text[kept:]

    if piece.kind is not None:
        return (piece, _NOTHING) if at_end else (_NOTHING, piece)
    first, second = zip(split(piece.text), split(piece.source), strict=True)
    return Piece(*first), Piece(*second)


_NOTHING = Piece("", "")


def parts_of(core: Sequence[Piece]) -> tuple[str | Placeholder, ...]:
    """Return the parts of a segment, each placeholder shown in a way that finds it again."""
    literal = "".join(piece.text for piece in core if piece.kind is None)
    marks = [piece for piece in core if piece.kind is not None]
    tags = numbered_tags([piece.role for piece in marks], literal + "".join(p.text for p in marks))
    sources: dict[str, str] = {}
    shown = []
    for piece, tag in zip(marks, tags, strict=True):
        is_short = piece.is_shown and len(piece.text) <= SHOWN_CHARACTERS and "\n" not in piece.text
        is_plain = is_short and piece.text not in literal
        is_plain = is_plain and sources.setdefault(piece.text, piece.source) == piece.source
        shown.append(piece.text if is_plain and piece.span is None else tag)
    # The two ends of a pair are shown alike, both as they are or both as numbered tags.
    places = [place for place, piece in enumerate(core) if piece.kind is not None]
    number = {place: number for number, place in enumerate(places)}
    for one, other in _partners(core).items():
        if shown[number[one]] == tags[number[one]]:
            shown[number[other]] = tags[number[other]]
    parts = _parts(core, shown)
    if not _is_found_again(parts):
        parts = _parts(core, list(tags))
    return parts


def _parts(core: Sequence[Piece], shown: Sequence[str]) -> tuple[str | Placeholder, ...]:
    texts = iter(shown)
    parts: list[str | Placeholder] = []
    for piece in core:
        if piece.kind is not None:
            parts.append(
                Placeholder(
                    piece.source if piece.written is None else piece.written,
                    next(texts),
                    piece.kind,
                    piece.role,
                    is_optional=piece.is_optional,
                    is_ordered=piece.is_ordered,
                    span=piece.span,
                )
            )
        elif parts and isinstance(parts[-1], str):
            parts[-1] += piece.text
        elif piece.text:
            parts.append(piece.text)
    return tuple(parts)


def _is_found_again(parts: tuple[str | Placeholder, ...]) -> bool:
    placeholders = [part for part in parts if isinstance(part, Placeholder)]
    text = "".join(part if isinstance(part, str) else part.shown for part in parts)
    return tuple(split_at(placeholders, text)) == parts


Writer = Callable[[list[Run]], str]  # may raise RefusedError


class Draft:
    """Collects the segments and patches of a document."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.segments: list[Segment] = []
        self.patches: list[Patch] = []
        self.notices: list[str] = []
        self.escape: Callable[[str], str] | None = None  # see Document
        self.recode: Callable[[str], str] | None = None

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in LINE_END.finditer(self.text))]

    def line_of(self, offset: int) -> int:
        """Return the line that a character is in, from 1."""
        return bisect_right(self._line_starts, offset)

    @cached_property
    def newline(self) -> str:
        """The line end of the document's first line."""
        found = LINE_END.search(self.text)
        return found[0] if found else "\n"

    def segment(
        self, start: int, end: int, parts: tuple[str | Placeholder, ...], kind: SegmentKind, **more: Any
    ) -> int:
        """Add a segment without a patch; return its index."""
        index = len(self.segments)
        line = more.pop("line", 0) or self.line_of(start)
        self.segments.append(
            Segment(index=index, parts=parts, kind=kind, start=start, end=end, line=line, **more)
        )
        return index

    def patch(self, start: int, end: int, index: int, write: Writer) -> None:
        """Add the patch of one segment."""

        def write_one(translations: Sequence[list[Run] | None], _is_doubtful: bool) -> str:
            (runs,) = translations
            assert runs is not None
            return write(runs)

        self.patches.append(Patch(start, end, (index,), write_one))

    def add(
        self,
        start: int,
        pieces: Sequence[Piece],
        kind: SegmentKind,
        write: Callable[[list[Run], Cut], str] | None = None,
        **more: Any,
    ) -> int | None:
        """Add what the pieces from `start` on make up, less what stands around their text.

        Their sources are what the text has there, in order. Without `write`, the translation is
        wrapped as the source is. Returns the segment's index, None if there is nothing to translate.
        """
        if (found := cut(pieces, start)) is None:
            return None
        index = self.segment(found.start, found.end, parts_of(found.core), kind, **more)
        write = write or self.rewrapped
        self.patch(found.start, found.end, index, lambda runs: write(runs, found))
        return index

    def rewrapped(self, runs: Sequence[Run], found: Cut) -> str:
        """Return a translation in lines as wide as those of the source, and indented like its second."""
        if not (line_end := found.line_end):
            return joined(one_line(runs))
        before = self.text[self._line_starts[self.line_of(found.start) - 1] : found.start]
        lines = LINE_END.split(before + self.text[found.start : found.end])
        newline = LINE_END.match(line_end)
        indent = line_end[newline.end() :] if newline else ""
        filled = fill(units(runs), max(map(width_of, lines)), width_of(before), width_of(indent))
        return line_end.join(filled)

    def add_value(
        self,
        start: int,
        end: int,
        value: str,
        kind: SegmentKind,
        encode: Callable[[str], str],
        **more: Any,
    ) -> int | None:
        """Add a value that the range writes in another way, as a string does; `encode` writes it so."""
        pattern = more.setdefault("pattern", MESSAGE)
        found = cut(more.pop("pieces", None) or list(protected(value, pattern)))
        if found is None:
            return None
        lead, trail = ("".join(piece.source for piece in pieces) for pieces in (found.lead, found.trail))
        index = self.segment(start, end, parts_of(found.core), kind, **more)
        self.patch(start, end, index, lambda runs: encode(lead + joined(runs) + trail))
        return index


def joined(runs: Sequence[Run]) -> str:
    return "".join(run.text for run in runs)


def one_line(runs: Sequence[Run]) -> list[Run]:
    """Return a translation without line breaks in its text."""
    return [Run(WHITESPACE.sub(" ", run.text), True) if run.is_text else run for run in runs]
