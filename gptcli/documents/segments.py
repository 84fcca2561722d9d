"""What a translator sees of a document: segments of text, with placeholders for what must not change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

SegmentKind = Literal[
    "line", "paragraph", "heading", "item", "cell", "cue", "attribute", "message", "value"
]
PlaceholderKind = Literal[
    "code", "link", "image", "tag", "variable", "icu", "url", "emphasis", "break", "reference", "bytes"
]
Role = Literal["single", "open", "close"]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A piece of a segment that every translation carries over as it is.

    It stands in the segment's text as `shown`: itself where a model copies it well (`{{name}}`, `**`,
    `<b>`), else a numbered tag: `<1>` and `</1>` for the two ends of a link, `<2/>` for one alone.
    """

    source: str  # what is written into the document
    shown: str
    kind: PlaceholderKind
    role: Role = "single"
    is_optional: bool = False  # a plural form may say "one file" for "%d file"
    is_ordered: bool = False  # among its like: the second %d takes the second argument
    span: tuple[int, int] | None = None  # in Document.text, where other segments may lie in it


@dataclass(frozen=True, slots=True)
class PluralForm:
    """Which of the target language's plural forms a segment is for."""

    index: int  # of `count` forms
    count: int
    examples: tuple[int, ...]  # the first numbers that take this form


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of text to translate. `start` and `end` count characters of Document.text.

    Lines are broken when the document is rendered: a translation may be one line.
    """

    index: int  # in Document.segments
    parts: tuple[str | Placeholder, ...]
    kind: SegmentKind
    start: int
    end: int
    line: int  # where it begins, from 1
    context: str = ""  # msgctxt, the keys of a JSON value, the name of a column or attribute
    notes: tuple[str, ...] = ()  # of the developers for the translators
    plural: PluralForm | None = None
    present: str | None = None  # the translation that the document has already, perhaps an old one
    pattern: re.Pattern[str] | None = None  # finds placeholders, also those that a translation invents

    @property
    def text(self) -> str:
        """The text to translate, with the placeholders as they are shown."""
        return "".join(part if isinstance(part, str) else part.shown for part in self.parts)

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        return tuple(part for part in self.parts if isinstance(part, Placeholder))


@dataclass(frozen=True, slots=True)
class PlaceholderFaults:
    """What is wrong with the placeholders of a translation, as they are shown. False if nothing is."""

    missing: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()  # not in the source
    misplaced: tuple[str, ...] = ()  # an end before its beginning, or what has its order out of it
    markup: str = ""  # why the text around them cannot be written, which Document.check finds

    def __bool__(self) -> bool:
        return self != PlaceholderFaults()

    def __str__(self) -> str:
        kinds = ("missing", "duplicated", "invented", "misplaced")
        named = ((kind, getattr(self, kind)) for kind in kinds)
        said = [f"{kind}: {' '.join(shown)}" for kind, shown in named if shown]
        return "; ".join([*said, self.markup] if self.markup else said)


def check_placeholders(segment: Segment, translation: str) -> PlaceholderFaults:
    """Return which placeholders of a segment its translation lost, doubled, invented or misplaced."""
    found = [part for part in split_translation(segment, translation) if isinstance(part, Placeholder)]
    wanted = segment.placeholders
    optional = {each.shown for each in wanted if each.is_optional}
    expected, present = (Counter(each.shown for each in each_of) for each_of in (wanted, found))
    missing = [shown for shown in (expected - present).elements() if shown not in optional]
    extra = list((present - expected).elements())
    # Read as a whole: a letter that touches an address makes it another one.
    invented = _look_alikes(segment, translation) - _look_alikes(segment, segment.text) - Counter(extra)
    return PlaceholderFaults(
        tuple(missing), tuple(extra), tuple(invented.elements()), _misplaced(wanted, found)
    )


def _look_alikes(segment: Segment, text: str) -> Counter[str]:
    """Return what looks like a placeholder of the format."""
    if segment.pattern is None:
        return Counter()
    if any(each.kind == "icu" for each in segment.placeholders):  # whose braces are around texts
        text = "\n".join(part for part in split_translation(segment, text) if isinstance(part, str))
    return Counter(found[0] for found in segment.pattern.finditer(text) if found[0])


def _misplaced(wanted: Sequence[Placeholder], found: Sequence[Placeholder]) -> tuple[str, ...]:
    def order(placeholders: Iterable[Placeholder]) -> list[str]:
        return [each.shown for each in placeholders if each.is_ordered]

    is_complete = Counter(order(found)) == Counter(order(wanted))
    pairs = zip(order(found), order(wanted), strict=False) if is_complete else ()
    moved = [shown for shown, expected in pairs if shown != expected]
    return (*moved, *(() if _crossing(wanted) else _crossing(found)))


def _crossing(placeholders: Iterable[Placeholder]) -> tuple[str, ...]:
    """Return the closing placeholders that do not close what was opened last."""
    opened: list[Placeholder] = []
    crossing = []
    for each in placeholders:
        if each.role == "open":
            opened.append(each)
        elif each.role == "close":
            partner = opened.pop() if opened else None
            if partner is None or _pair_name(partner) != _pair_name(each):
                crossing.append(each.shown)
    return tuple(crossing)


def _pair_name(placeholder: Placeholder) -> str:
    """Return what the two ends of a pair have in common: the 1 of <1> and </1>, the ** of both."""
    return re.sub(r"^</?|>$", "", placeholder.shown)


def split_translation(segment: Segment, translation: str) -> list[str | Placeholder]:
    """Return a translation as texts and the segment's placeholders, in the order it has them."""
    return split_at(segment.placeholders, translation)


def split_at(placeholders: Sequence[Placeholder], text: str) -> list[str | Placeholder]:
    if not placeholders:
        return [text] if text else []
    waiting: dict[str, list[Placeholder]] = {}
    for each in reversed(placeholders):
        waiting.setdefault(each.shown, []).append(each)
    parts: list[str | Placeholder] = []
    end = 0
    for found in any_of(waiting).finditer(text):
        if found.start() > end:
            parts.append(text[end : found.start()])
        same = waiting[found[0]]
        parts.append(same.pop() if len(same) > 1 else same[0])
        end = found.end()
    if end < len(text):
        parts.append(text[end:])
    return parts


def numbered_tags(roles: Sequence[Role], literal: str) -> tuple[str, ...]:
    """Return a tag for each placeholder: pairs share a number. None of them occurs in `literal`."""
    used = {int(number) for number in re.findall(r"</?(\d{1,9})/?>", literal)}
    number = 0
    opened: list[int] = []
    tags = []
    for role in roles:
        if role == "close" and opened:
            tags.append(f"</{opened.pop()}>")
            continue
        number += 1
        while number in used:
            number += 1
        if role == "open":
            opened.append(number)
        tags.append(f"<{number}>" if role == "open" else f"<{number}/>")
    return tuple(tags)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))
