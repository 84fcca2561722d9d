"""How wide text is on a terminal, nearly: rich knows better, but loads slowly."""

from __future__ import annotations

import unicodedata


def columns_of(text: str) -> int:
    """Return the columns that text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def fitted(text: str, width: int) -> str:
    """Return the beginning of a text that takes so many columns, with … where it was cut."""
    if columns_of(text) <= width:
        return text
    taken, shown = 1, ""
    for char in text:
        taken += columns_of(char)
        if taken > width:
            break
        shown += char
    return shown + "…"
