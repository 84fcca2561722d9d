"""Sources and passages: a document as text, and stretches of it with their places."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A document as text: where it is from and its characters."""

    name: str  # the path as the user would type it, or "-" for standard input
    text: str  # decoded; offsets in characters refer to this string


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a source, `source.text[start:end]`; `line` is the 1-based line of its start.

    `heading`: the path of section titles that it stands under, or "".
    """

    source: Source
    start: int
    end: int
    line: int
    heading: str = ""

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]


def line_of(text: str, offset: int) -> int:
    """Return the 1-based line that the character at `offset` is on."""
    return text.count("\n", 0, offset) + 1
