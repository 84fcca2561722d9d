"""The rows at the bottom of a terminal that may still change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gptcli.output.console import Output

# Terminals that know synchronized updates show the rows between these at once; the others ignore them.
BEGIN_UPDATE, END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
ERASE_BELOW = "\x1b[J"

_ESCAPES = re.compile(r"\x1b\[[?0-9;]*[a-z]")


class LiveRegion:
    """Draws rows that are final, then rows that may be drawn again; the cursor rests below them.

    Only rows that changed are written again, in one write. Rows must not be wider than the terminal,
    and live rows fewer than it has lines.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rows: list[str] = []
        self._columns = 0

    def draw(self, final: Sequence[str], live: Sequence[str] = ()) -> None:
        """Replace the live rows by `final` rows, which stay, and new live rows."""
        columns = self._output.width
        frame = [*final, *(_guarded(row, columns) for row in live)]
        kept = _shared(self._rows, frame)
        rows_up = sum(self._height(row, columns) for row in self._rows[kept:])
        text = "".join(f"{row}\n" for row in frame[kept:])
        if rows_up:
            text = f"{BEGIN_UPDATE}\r\x1b[{rows_up}A{ERASE_BELOW}{text}{END_UPDATE}"
        if text:
            self._output.write_frame(text)
        self._rows = frame[len(final) :]
        self._columns = columns

    def _height(self, row: str, columns: int) -> int:
        """Return the lines a drawn row takes now: more than one if the terminal became narrower."""
        from rich.cells import cell_len

        if columns >= self._columns or not self._output.reflows:
            return 1
        return max(1, -(-cell_len(_ESCAPES.sub("", row)) // columns))


def _guarded(row: str, columns: int) -> str:
    """Keep the terminal from wrapping a row that it may take for wider than we do.

    Terminals disagree about emoji sequences and characters of ambiguous width; a row too many would
    spoil the next redraw. Once final, the row is written again without the guard, in full.
    """
    text = _ESCAPES.sub("", row)
    widest = len(text) + sum(not char.isascii() for char in text)
    return f"{NO_WRAP}{row}{WRAP}" if widest > columns else row


def _shared(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many rows are the same at the start of both."""
    count = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            break
        count += 1
    return count
