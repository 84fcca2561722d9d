"""What a user types: messages over several lines, slash commands, and what no message may contain."""

from __future__ import annotations

import re
from typing import NamedTuple

QUOTES = '"""'
EXIT_WORDS = ("exit", "quit")

# Control characters but newline and tab, of C0 and C1, and halves of characters (bytes that are not
# UTF-8): a paste from a terminal's screen is full of them, and no model was trained on them.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Command(NamedTuple):
    """A slash command as it was typed: `name` without the slash."""

    name: str
    argument: str


def clean(text: str) -> str:
    """Return text with line ends as newlines, and without control characters."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def needs_more(text: str) -> bool:
    """Tell whether another line follows: quotes are open, or the line ends with a backslash."""
    start = text.lstrip()
    if start.startswith(QUOTES):
        rest = start[len(QUOTES) :].rstrip()
        return not rest.endswith(QUOTES)
    return ends_with_backslash(text)


def ends_with_backslash(text: str) -> bool:
    r"""Tell whether a text ends with a backslash that stands for itself: `\\` is one that is meant."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1 and not text.lstrip().startswith(QUOTES)


def parse(text: str) -> Command | str:
    """Return what a whole input is: a slash command, or a message, "" for none."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        inner = stripped[len(QUOTES) :]
        return inner.removesuffix(QUOTES).strip("\n")
    if stripped.lower() in EXIT_WORDS:
        return Command("exit", "")
    if stripped.startswith("//"):
        return stripped[1:]
    if stripped.startswith("/"):
        name, _, argument = stripped[1:].partition(" ")
        first, newline, rest = name.partition("\n")
        return Command(first, (rest + (" " if newline and argument else "") + argument).strip())
    return stripped
