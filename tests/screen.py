"""A terminal in memory: what was sent to it, and what a person scrolling back through it would read."""

from __future__ import annotations

import io
import threading
import unicodedata
from typing import Any

import pyte

HISTORY_LINES = 100_000


class Screen:
    """A pyte screen that keeps the lines that scroll off it. It may be read while a thread draws."""

    def __init__(self, columns: int, lines: int) -> None:
        self._lock = threading.Lock()
        self._open(columns, lines)

    def _open(self, columns: int, lines: int) -> None:
        self._screen: Any = pyte.HistoryScreen(columns, lines, history=HISTORY_LINES)
        self._stream: Any = pyte.ByteStream(self._screen)

    def feed(self, data: bytes) -> None:
        # pyte drops the rest of a text at a joiner or a variation selector.
        text = "".join(char for char in data.decode() if unicodedata.category(char) not in ("Cf", "Mn"))
        with self._lock:
            self._stream.feed(text.encode())

    @property
    def text(self) -> str:
        """The whole scrollback and the screen, without trailing spaces and empty lines at the end."""
        with self._lock:
            return "\n".join(self._rows()).rstrip("\n")

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and line, from 0 at the top left of the screen."""
        return self._screen.cursor.x, self._screen.cursor.y

    @property
    def is_cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def resize(self, columns: int, lines: int, *, reflows: bool = True) -> None:
        """Change the size as most terminals do, wrapping what they hold anew, or as xterm does."""
        if not reflows:
            self._screen.resize(lines, columns)
            return
        rows = self._rows()[: len(self._screen.history.top) + self._screen.cursor.y + 1]
        self._open(columns, lines)
        self._stream.feed("\r\n".join(rows).encode())

    def _rows(self) -> list[str]:
        screen = self._screen
        buffers = [*screen.history.top, *(screen.buffer[line] for line in range(screen.lines))]
        width = max(screen.columns, *(max(buffer, default=0) + 1 for buffer in buffers))
        return ["".join(buffer[x].data for x in range(width)).rstrip() for buffer in buffers]


class Terminal(io.StringIO):
    """A text stream that is a terminal. `environ` tells its size, and keeps telling it."""

    def __init__(self, columns: int = 80, lines: int = 24, **environ: str) -> None:
        super().__init__()
        self.environ = {"TERM": "xterm-256color", **environ}
        self.screen = Screen(columns, lines)
        self.writes: list[str] = []
        self._set_size(columns, lines)

    def _set_size(self, columns: int, lines: int) -> None:
        self.environ |= {"COLUMNS": str(columns), "LINES": str(lines)}

    def isatty(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.screen.feed(text.replace("\n", "\r\n").encode())
        self.writes.append(text)  # last: who waits for it may look at the screen
        return len(text)

    def resize(self, columns: int, lines: int, *, reflows: bool = True) -> None:
        self._set_size(columns, lines)
        self.screen.resize(columns, lines, reflows=reflows)

    @property
    def sent(self) -> str:
        """Everything written, as it was sent."""
        return "".join(self.writes)
