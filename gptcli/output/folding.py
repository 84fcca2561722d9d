"""Reasoning folded to one line: that the model thinks, and then for how long it did."""

from __future__ import annotations

import time

from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output
from gptcli.output.progress import Progress


class FoldedThinking:
    """Shows that the model thinks while it does; leaves one line of it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._progress: Progress | None = None
        self._started = 0.0
        self._text = ""

    def feed(self, text: str) -> None:
        """Take the next piece of the reasoning."""
        if self._progress is None:
            self._started, self._text = time.monotonic(), ""
            self._progress = Progress(self._output, "thinking")
            self._progress.__enter__()
        self._text += text
        words = len(self._text.split())
        self._progress.update(words, text=counted(words, "word"))

    def close(self) -> None:
        """End the line, if there is one."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.__exit__(None, None, None)
            seconds = duration(time.monotonic() - self._started)
            words = counted(len(self._text.split()), "word")
            self._output.thinking(f"thought for {seconds}, {words}\n")
