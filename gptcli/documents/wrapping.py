"""Lines of a given width, in any script. Widths are in columns: East Asian characters take two."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from gptcli.documents.segments import Role

SPACE = " \t\r\n\f\v\x1c\x1d\x1e\x1f\x85\u2028\u2029"  # not the no-break spaces
WHITESPACE = re.compile(f"[{SPACE}]+")
NOT_AT_START = frozenset(
    "、。，．・：；？！）」』】〕〉》”’…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ,.!?:;)]}%"
)
NOT_AT_END = frozenset("（「『【〔〈《“‘([{")


class Run(NamedTuple):
    """A stretch of a translation: text, or what a placeholder stands for."""

    text: str
    is_text: bool
    role: Role = "single"


class Unit(NamedTuple):
    """What no line is broken within."""

    text: str
    space: str  # before it: a space, or nothing where a line may be broken all the same
    width: int


def width_of(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def units(runs: Sequence[Run], *, tags_are_visible: bool = True) -> list[Unit]:
    """Return where lines may be broken: at spaces of the text, and between wide characters."""
    found: list[Unit] = []
    word, width, space, can_break = "", 0, "", False

    def end_word() -> None:
        nonlocal word, width
        if word:
            found.append(Unit(word, space, width))
            word, width = "", 0

    for run in runs:
        if not run.is_text:
            word += run.text
            width += width_of(run.text) if tags_are_visible else 0
            can_break = False
            continue
        for piece in re.split(r"([ ]+)", WHITESPACE.sub(" ", run.text)):
            if not piece:
                continue
            if piece[0] == " ":
                end_word()
                space, can_break = " ", False
                continue
            for char in piece:
                is_wide = not char.isascii() and unicodedata.east_asian_width(char) in "WF"
                can_break = can_break or is_wide
                if word and can_break and char not in NOT_AT_START and word[-1] not in NOT_AT_END:
                    end_word()
                    space = ""
                word += char
                width += width_of(char)
                can_break = is_wide
    end_word()
    return found


def fill(words: Sequence[Unit], width: int, first: int = 0, rest: int = 0) -> list[str]:
    """Return lines no wider than `width` where words allow it.

    `first` and `rest` are the columns that are taken already in the first line and in the others.
    """
    lines: list[str] = []
    line, used = "", first
    for word in words:
        if line and used + len(word.space) + word.width > width:
            lines.append(line)
            line, used = word.text, rest + word.width
        else:
            space = word.space if line else ""
            line += space + word.text
            used += len(space) + word.width
    return [*lines, line] if line else lines


def balance(words: Sequence[Unit], lines: int) -> list[str]:
    """Return lines as even as they can be: the narrowest that are no more than `lines`."""
    widths = [len(word.space) + word.width for word in words]
    low, high = max(widths, default=1), max(sum(widths), 1)
    while low < high:
        middle = (low + high) // 2
        if len(fill(words, middle)) <= lines:
            high = middle
        else:
            low = middle + 1
    return fill(words, low)
