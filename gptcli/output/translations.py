"""Translations beside their sources on a terminal, and how far a run is."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output, visible
from gptcli.output.progress import Progress

NARROW = 60  # columns: below it, a translation stands under its source
UPDATE_EVERY_S = 0.2


class TranslationView:
    """Two columns, sources dim; what is doubtful is marked, with the reason below."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, source: str, translation: str, warnings: Sequence[str]) -> None:
        from rich.table import Table
        from rich.text import Text

        output = self._output
        table = Table(box=None, show_header=False, pad_edge=False, expand=True, padding=(0, 1))
        mark = Text("!" if warnings else " ", style="yellow")
        table.add_column(width=1)
        before, after = Text(visible(source), style="dim"), Text(visible(translation))
        if output.width < NARROW:
            table.add_column(ratio=1)
            table.add_row(mark, before)
            table.add_row("", after)
        else:
            table.add_column(ratio=1)
            table.add_column(ratio=1)
            table.add_row(mark, before, after)
        buffer = io.StringIO()
        console = output.rich_console(buffer, color=output.stdout_color)
        console.print(table)
        for warning in warnings:
            console.print(Text(f"! {visible(warning)}", style="yellow"))
        lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
        output.write_styled("\n".join(lines) + "\n")


class SegmentProgress(Progress):
    """How many segments of how many are done, how fast, and how long it takes still."""

    says_all_in_words = True

    def __init__(self, output: Output, label: str, total: int | None) -> None:
        super().__init__(output, label, total)
        self._all = total
        self._begun = self._updated = time.monotonic()

    def advance(self, done: int, remembered: int, tokens: int) -> None:
        """Say how many segments are done, how many of them were remembered, and the tokens written."""
        now = time.monotonic()
        if now - self._updated < UPDATE_EVERY_S:
            return
        self._updated = now
        span, made = now - self._begun, done - remembered
        words = [
            f"{done:,} of {counted(self._all, 'segment')}" if self._all else counted(done, "segment")
        ]
        if made and span > 0:
            words += [f"{made / span:,.1f} segments/s", f"{tokens / span:,.0f} tokens/s"]
            if self._all and self._all > done:
                words.append(f"{duration((self._all - done) * span / made)} left")
        self.update(done, text=", ".join(words))
