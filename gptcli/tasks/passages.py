"""Parts of a text with their places: sentences, words, and windows for what is too long at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptcli.tasks.prose import ends_abbreviation

# A sentence ends at a line's end, at a full stop of scripts without spaces, or at . ! ? before a space.
# A row of marks is looked at from its first one only, or thousands of them would take minutes.
SENTENCE = re.compile(
    r"[^\n]*?(?:[。！？]+[”’」』）]*|(?<![.!?…])[.!?…]+[\"'”’»)\]]*(?=\s)|$)\s*", re.MULTILINE
)
# In running text it ends at a full stop, at a blank line, and where a line begins a list, a heading or a
# table.
_FLOWING = re.compile(
    r".+?(?:[。！？]+[”’」』）]*|[.!?…]+[\"'”’»)\]]*(?=\s)|\Z|(?=\n\s*(?:\n|[-*#>|•]|\d+[.)]\s)))",
    re.DOTALL,
)
# Scripts without spaces between words: a character is a word.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]+"
)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text: `text[start:end]` of the whole, in characters."""

    start: int
    end: int
    text: str


def sentences(text: str) -> list[Span]:
    """Return the sentences of a text without the white space around them, in order; a line ends one."""
    return list(_stripped(text, (match.span() for match in SENTENCE.finditer(text))))


def flowing_sentences(text: str) -> list[Span]:
    """Return the same of running text, where sentences go over line ends and have abbreviations."""
    found: list[Span] = []
    begin: int | None = None
    for match in _FLOWING.finditer(text):
        start = match.start() if begin is None else begin
        part = text[start : match.end()].strip()
        begin = start if ends_abbreviation(part) else None
        if part and begin is None:
            start = text.index(part[0], start)
            found.append(Span(start, start + len(part), part))
    if begin is not None and (part := text[begin:].strip()):
        begin = text.index(part[0], begin)
        found.append(Span(begin, begin + len(part), part))
    return found


def words(text: str) -> list[Span]:
    """Return the words and the marks between them, in order; of scripts without spaces, characters."""
    return [Span(match.start(), match.end(), match[0]) for match in _WORD.finditer(text)]


def windows(text: str, most_bytes: int) -> list[Span]:
    """Return the text in parts of at most so many bytes of UTF-8, about equally long.

    Nothing is left out but white space. Parts end with a sentence where one ends, else with a word.
    """
    whole = Span(0, len(text), text)
    size = len(text.encode("utf-8", "replace"))
    if size <= most_bytes:
        return list(_stripped(text, ((whole.start, whole.end),)))
    goal = size / -(-size // most_bytes)
    spans: list[tuple[int, int]] = []
    start = end = taken = 0
    for unit_start, unit_end, unit_size in _units(text, most_bytes):
        if taken and (taken + unit_size > most_bytes or taken >= goal):
            spans.append((start, end))
            start, taken = unit_start, 0
        end = unit_end
        taken += unit_size
    spans.append((start, end))
    return list(_stripped(text, spans))


def _units(text: str, most_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield what stays together: sentences, words of longer ones, characters of longer words."""
    for sentence in SENTENCE.finditer(text):
        yield from _pieces(text, sentence.span(), most_bytes, (_WITH_SPACE, _CHARACTER))


def _pieces(
    text: str, span: tuple[int, int], most_bytes: int, patterns: tuple[re.Pattern[str], ...]
) -> Iterator[tuple[int, int, int]]:
    size = len(text[slice(*span)].encode("utf-8", "replace"))
    if size <= most_bytes or not patterns:
        yield *span, size
        return
    for match in patterns[0].finditer(text, *span):
        yield from _pieces(text, match.span(), most_bytes, patterns[1:])


_WITH_SPACE = re.compile(r"\S+\s*|\s+")
_CHARACTER = re.compile(r".", re.DOTALL)


def _stripped(
    text: str, spans: Iterator[tuple[int, int]] | tuple[tuple[int, int], ...] | list[tuple[int, int]]
) -> Iterator[Span]:
    for start, end in spans:
        part = text[start:end]
        if part.strip():
            start += len(part) - len(part.lstrip())
            part = part.strip()
            yield Span(start, start + len(part), part)
