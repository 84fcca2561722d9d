"""Markdown on a terminal while it is being written.

Finished blocks are printed once and belong to the scrollback. Only the last block is drawn again as it
grows. A new block is what tells that the one before is finished, and only complete lines count: what
follows can no longer change the blocks before the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from gptcli.output.blocks import CODE, Block, BlockRenderer
from gptcli.output.console import Output, visible
from gptcli.output.live import LiveRegion

MIN_INTERVAL_S = 0.05
MAX_LOAD = 0.2  # share of the time that may go into drawing
SPARE_LINES = 2  # of the screen: the cursor's, and one to see where the answer comes from


class MarkdownStream:
    """Shows a growing Markdown text; the scrollback ends up as if the whole text was printed at once.

    A context manager, or `close` must be called: both print what is pending.
    """

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._renderer = BlockRenderer(output)
        self._region = LiveRegion(output)
        self._redraws = output.stdout_is_tty and output.can_move_cursor
        self._references: dict[str, object] = {}
        self._next_draw = clock()
        self._closed = False

        self._tail = ""  # the source from the first block on that is not finished: the open block
        self._parsed = 0  # how much of the tail was parsed into:
        self._open_block: Block | None = None
        self._before = ""  # kind of the block before the open one
        self._is_begun = False  # pieces of the open block are in the scrollback:
        self._code_lines = 0  # its first lines, if it is code,
        self._next_number: int | None = None  # its first items, cut from the tail, if it is a list
        self._due: list[str] = []  # rows of what left the tail: an interrupt must not lose them

    def __enter__(self) -> MarkdownStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def feed(self, text: str) -> None:
        """Take the next piece of the text, and show it when it is time to."""
        self._tail += visible(text)
        if self._redraws and self._output.live is None:
            self._output.live = self
        if self._clock() >= self._next_draw:
            self._draw()

    def close(self) -> None:
        """Print what is pending, in full. The cursor is left at the start of a new line."""
        if self._closed:
            return
        self._closed = True
        if self._output.live is self:
            self._output.live = None
        blocks = self._parse(self._tail, self._references)
        self._region.draw(self._due + self._rows(blocks, self._output.width))

    def hide(self) -> None:
        """Take the unfinished block off the terminal, so that something else can be printed."""
        self._region.draw([])

    def show(self) -> None:
        self._draw()

    # -------------------------------------------------------------------------------------- drawing

    def _draw(self) -> None:
        started = self._clock()
        columns, lines = self._output.terminal_size()
        self._take_finished(columns)
        live: list[str] = []
        if self._redraws:
            limit = max(0, lines - SPARE_LINES)
            live = self._live_rows(columns)
            if len(live) > limit and self._take_settled(columns):
                live = self._live_rows(columns)
            live = live[max(0, len(live) - limit) :]
        self._region.draw(self._due, live)
        self._due = []
        finished = self._clock()
        self._next_draw = finished + max(MIN_INTERVAL_S, (finished - started) / MAX_LOAD)

    def _take_finished(self, columns: int) -> None:
        """Move the blocks that are finished from the tail to the rows that are due."""
        end = self._tail.rfind("\n") + 1
        if end == self._parsed:
            return
        blocks = self._parse(self._tail[:end], self._references)
        finished, self._open_block = blocks[:-1], blocks[-1] if blocks else None
        self._parsed = end
        self._due += self._rows(finished, columns)
        if finished:
            self._before = finished[-1].kind
            self._is_begun, self._code_lines, self._next_number = False, 0, None
        if blocks:
            self._cut_tail(blocks[-1].line)

    def _take_settled(self, columns: int) -> bool:
        """Move the open block's pieces that are certain to the rows that are due, if there are any."""
        block = self._open_block
        if block is None or (settled := block.settled_pieces()) <= self._code_lines:
            return False
        self._due += self._rows([block], columns, end=settled)
        self._is_begun = True
        if block.kind in CODE:  # stays in the tail: it tells how to colour the lines to come
            self._code_lines = settled
        else:
            self._next_number = block.first_number + settled
            self._cut_tail(block.item_line(settled))
            self._open_block = None
        return True

    def _cut_tail(self, line: int) -> None:
        offset = 0
        for _ in range(line):
            offset = self._tail.index("\n", offset) + 1
        self._tail = self._tail[offset:]
        self._parsed -= offset

    # ------------------------------------------------------------------------------------- the tail

    def _parse(self, text: str, references: dict[str, object]) -> list[Block]:
        blocks = self._renderer.parse(text, references)
        if blocks and self._next_number is not None:
            blocks[0] = blocks[0].renumbered(self._next_number)
        return blocks

    def _live_rows(self, columns: int) -> list[str]:
        return self._rows(self._parse(self._tail, dict(self._references)), columns)

    def _rows(self, blocks: list[Block], columns: int, end: int | None = None) -> list[str]:
        """Return the rows of blocks from the start of the tail, without the pieces already printed."""
        rows: list[str] = []
        before, is_begun, start = self._before, self._is_begun, self._code_lines
        for block in blocks:
            if not is_begun and block.needs_blank_line(before):
                rows.append("")
            rows += self._renderer.rows(block, columns, start, end)
            before, is_begun, start = block.kind, False, 0
        return rows
