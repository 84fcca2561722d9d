"""Shows on stderr that something takes its time."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gptcli.output.amounts import byte_count, duration
from gptcli.output.console import Output, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SHOW_AFTER_S = 0.3
LINE_EVERY_S = 10.0
RATE_SPAN_S = 5.0
WIDE = 100  # columns


class Progress:
    """A bar on a terminal, gone when done; elsewhere a plain line now and then. With --quiet nothing.

    What is done quickly shows nothing at all. Without a total, the bar only shows that work goes on.
    """

    says_all_in_words = False  # share and time left too: they are not shown beside the text

    def __init__(
        self,
        output: Output,
        label: str,
        total: float | None = None,
        *,
        show_after_s: float = SHOW_AFTER_S,
        line_every_s: float = LINE_EVERY_S,
    ) -> None:
        self._output = output
        self._label = label
        self._done = 0.0
        self._total = total
        self._text = ""
        self._line_every_s = line_every_s
        self._last_line = time.monotonic()
        self._draws = output.stderr_is_tty and output.can_move_cursor and not output.quiet
        # The bar appears from a timer's thread, since the work may give no sign of life for long.
        self._lock = threading.RLock()
        self._timer = threading.Timer(show_after_s, self._begin)
        self._timer.daemon = True
        self._is_due = False
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if self._draws:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._draws:
            return
        with self._lock:
            self._draws = False
            if self._output.live is self:
                self._output.live = None
            self.hide()
        self._timer.cancel()
        self._timer.join()

    def update(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how much is done, of how much if that is news, and in words."""
        with self._lock:
            self._done = done
            self._total = self._total if total is None else total
            self._text = text
            if self._bar is not None:
                self._fill(self._bar)
        if not self._draws and time.monotonic() - self._last_line >= self._line_every_s:
            self._last_line = time.monotonic()
            self._output.status(self._line())

    def hide(self) -> None:
        """Take the bar off the terminal."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()

    def show(self) -> None:
        with self._lock:
            if not (self._draws and self._is_due):
                return
            if self._bar is None:
                self._bar = self._new_bar()
            self._fill(self._bar)
            self._bar.start()

    def _begin(self) -> None:
        with self._lock:
            self._is_due = True
            if self._draws and self._output.live is None:
                self._output.live = self
                self.show()

    def _new_bar(self) -> Bar:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=40 if self._output.width >= WIDE else None),
            *(() if self.says_all_in_words else (TaskProgressColumn(),)),
            TextColumn("{task.fields[text]}", markup=False),
            *(() if self.says_all_in_words else (TimeRemainingColumn(compact=True),)),
            console=self._output.rich_console(self._output.stderr, color=self._output.stderr_color),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bar.add_task(visible(self._label), text="")
        return bar

    def _fill(self, bar: Bar) -> None:
        bar.console.width = self._output.width
        task = bar.task_ids[0]
        bar.update(task, completed=self._done, total=self._total, text=visible(self._text))

    def _line(self) -> str:
        if self.says_all_in_words:
            return f"{self._label}: {self._text}"
        if self._text or self._total is None:
            amount = self._text
        else:
            amount = f"{self._done:,.0f} of {self._total:,.0f}"
        share = f"{self._done / self._total:.0%}" if self._total else ""
        return ": ".join(filter(None, (self._label, ", ".join(filter(None, (share, amount))))))


class ByteProgress(Progress):
    """The progress of a transfer: how many bytes of how many, how fast, how long still.

    The rate is that of the last `RATE_SPAN_S` seconds; bytes that were there before do not count.
    """

    says_all_in_words = True

    def __init__(self, output: Output, label: str, total: float, **more: float) -> None:
        super().__init__(output, label, total, **more)
        self._samples: deque[tuple[float, float]] = deque()

    def advance(self, done: float) -> None:
        """Say how many bytes are there now."""
        now = time.monotonic()
        self._samples.append((now, done))
        while now - self._samples[0][0] > RATE_SPAN_S:
            self._samples.popleft()
        self.update(done, text=self._words(done))

    def restart(self, done: float) -> None:
        """Say how many bytes are there that this transfer did not bring."""
        self._samples.clear()
        self.update(done, text=self._words(done))

    def _words(self, done: float) -> str:
        total = self._total or 0
        words = [f"{done / total:.0%} of {byte_count(total)}" if total else byte_count(done)]
        if len(self._samples) > 1:
            (begun, first), (now, last) = self._samples[0], self._samples[-1]
            rate = (last - first) / (now - begun) if now > begun else 0
            if rate > 0:
                words += [f"{byte_count(rate)}/s", f"{duration((total - done) / rate)} left"]
        return ", ".join(words)
