"""Lines from a terminal that cannot move its cursor, or whose output goes elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from gptcli.chat.lines import ends_with_backslash, needs_more
from gptcli.errors import GptcliError

PROMPT, CONTINUATION = ">>> ", "... "


class PlainReader:
    """Reads lines as they are, with prompts on `prompts`; the terminal itself edits them."""

    is_vi = False

    def __init__(self, prompts: TextIO, lines: TextIO | None = None) -> None:
        self._prompts = prompts
        self._lines = sys.stdin if lines is None else lines

    def read(self, prefill: str = "") -> str:
        """Return a message, of several lines if it says so. There is no line to put `prefill` on."""
        if prefill:
            self._prompts.write(f"(instead of: {prefill})\n")
        text = self._line(PROMPT)
        while needs_more(text):
            text = text[:-1] if ends_with_backslash(text) else text
            text += "\n" + self._line(CONTINUATION)
        return text

    def set_vi(self, wanted: bool) -> None:
        """Do nothing: there are no keys here."""

    def refresh(self) -> None:
        """Do nothing: there is nothing beside the line."""

    def fail(self, error: GptcliError) -> None:
        """Do nothing: the next message meets the error."""

    def _line(self, prompt: str) -> str:
        self._prompts.write(prompt)
        self._prompts.flush()
        line = self._lines.readline()
        if not line:
            self._prompts.write("\n")
            raise EOFError
        return line.removesuffix("\n")
