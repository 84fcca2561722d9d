"""A run over records, as all commands show it: results, failures, progress, and what to type next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from gptcli.cli.record_files import Source, Target
from gptcli.documents.records import Record
from gptcli.errors import GptcliError, error_from_code
from gptcli.output.amounts import duration
from gptcli.output.console import Output
from gptcli.output.progress import Progress

UPDATE_EVERY_S = 0.2
RATE_SPAN_S = 10.0
FAILURES_SHOWN = 20


class Batch:
    """Writes results as they come; counts and tells."""

    def __init__(self, source: Source, target: Target, output: Output, *, label: str) -> None:
        self._source, self._target, self._output = source, target, output
        self._label = label
        self._started = time.monotonic()
        self._updated = self._started
        self._samples: deque[tuple[float, int, int, int]] = deque()
        self._progress: Progress | None = None
        self._byte = 0
        self.done = 0
        self.failed = 0
        self.tokens = 0

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Show progress; at the end, and when stopped, say what was done."""
        self._target.begin()
        self._started = time.monotonic()
        try:
            # Where the results show on the terminal themselves, they show how far it is.
            if self._output.stdout_is_tty and not self._target.is_file:
                yield
            else:
                with Progress(self._output, self._label, self._source.size_bytes) as self._progress:
                    yield
        except KeyboardInterrupt:
            self._tell_stopped()
            raise
        self._target.write(self._target.writer.tail())
        self._tell_done()

    def write(self, record: Record, fields: dict[str, Any], *, tokens: int = 0) -> None:
        """Write a record with what is added to it; `tokens` were generated for it."""
        self._target.write(self._target.writer.record(record.fields, fields))
        self._count(record, tokens)

    def write_failed(self, record: Record, error: GptcliError) -> None:
        """Write a record with its error, and say so on stderr."""
        message = f"{record.place}: {error.message}"
        found = error_from_code(error.code, message)
        self._target.write(self._target.writer.failed(record.fields, found))
        self.failed += 1
        if self.failed <= FAILURES_SHOWN:
            self._output.warning(message)
        elif self.failed == FAILURES_SHOWN + 1:
            self._output.warning("more records failed: they are marked in the output")
        self._count(record, 0)

    def _count(self, record: Record, tokens: int) -> None:
        self.done += 1
        self.tokens += tokens
        self._byte = record.end
        now = time.monotonic()
        if self._progress is not None and now - self._updated >= UPDATE_EVERY_S:
            self._updated = now
            self._progress.update(self._byte, text=self._words(now))

    def _words(self, now: float) -> str:
        """Return how many records are done and how fast: over the last RATE_SPAN_S seconds."""
        samples = self._samples
        samples.append((now, self.done, self.tokens, self._byte))
        while now - samples[0][0] > RATE_SPAN_S and len(samples) > 2:
            samples.popleft()
        begun, done, tokens, byte = samples[0]
        words = [_records(self.done + self._target.skipped)]
        if now > begun:
            span = now - begun
            words.append(f"{(self.done - done) / span:,.1f} records/s")
            words.append(f"{(self.tokens - tokens) / span:,.0f} tokens/s")
            if self._source.size_bytes and self._byte > byte:
                left = (self._source.size_bytes - self._byte) * span / (self._byte - byte)
                words.append(f"{duration(left)} left")
        return ", ".join(words)

    def _tell_stopped(self) -> None:
        fact = f"stopped after {_records(self.done + self._target.skipped)}"
        resumes = self._target.is_file and self._target.writer.can_resume
        self._output.status(f"{fact}; the same command with --resume goes on" if resumes else fact)

    def _tell_done(self) -> None:
        seconds = time.monotonic() - self._started
        speed = f", {self.done / seconds:,.1f}/s" if seconds > 0 else ""
        said = f"{_records(self.done)} in {duration(seconds)}{speed}, {self.tokens:,} tokens"
        if self._target.skipped and not self.done:
            said = f"all {_records(self._target.skipped)} were there already"
        elif self._target.skipped:
            said += f"; {self._target.skipped:,} were there already"
        (self._output.status if self._target.is_file else self._output.note)(said)
        for field in sorted(self._target.writer.dropped):
            self._output.warning(f'the field "{field}" has no column: it is not in the first record')
        if failed := self.failed + self._target.failed:
            earlier = (
                f", {self._target.failed:,} of them in the earlier run" if self._target.failed else ""
            )
            whole = self.done + self._target.skipped
            raise GptcliError(
                f"{failed:,} of {_records(whole)} failed{earlier}", records=whole, failed=failed
            )


def count_records(records: Iterable[Record]) -> tuple[int, int]:
    """Return how many records there are, and how many of them cannot be read."""
    done = broken = 0
    for record in records:
        done += 1
        broken += record.error is not None
    return done, broken


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"
