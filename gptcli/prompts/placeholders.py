"""Texts with placeholders: {name} stands for a value, {{name}} for the text {name} itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z][\w-]*)\}\}|\{([A-Za-z][\w-]*)\}")


class PlaceholderText:
    """A text with placeholders, taken apart once and filled many times.

    `names` are its placeholders as they are written, each once, in order.
    """

    def __init__(self, text: str) -> None:
        self._literals: list[str] = []  # one more than there are placeholders
        self._names: list[str] = []
        literal, end = "", 0
        for found in _PLACEHOLDER.finditer(text):
            literal += text[end : found.start()]
            end = found.end()
            if found[1]:
                literal += f"{{{found[1]}}}"
                continue
            self._literals.append(literal)
            self._names.append(found[2])
            literal = ""
        self._literals.append(literal + text[end:])
        self.names = tuple(dict.fromkeys(self._names))

    def fill(self, value_of: Callable[[str], str]) -> str:
        """Return the text with the value of each placeholder. Braces in a value are never looked at."""
        pieces = [self._literals[0]]
        for name, literal in zip(self._names, self._literals[1:], strict=True):
            pieces += (value_of(name), literal)
        return "".join(pieces)


@lru_cache(maxsize=64)
def placeholder_text(text: str) -> PlaceholderText:
    """Return a text taken apart, from memory if it was before."""
    return PlaceholderText(text)


def lower_first(name: str) -> str:
    return name[0].lower() + name[1:]


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
