"""A run over records, as all commands show it: results, failures, progress, and what to type next."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from gptcli.cli.record_files import Source, Target
from gptcli.documents.records import Record
from gptcli.errors import EngineCrashedError, GptcliError, error_from_code
from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output
from gptcli.output.record_progress import RecordProgress

FAILURES_SHOWN = 20


class Batch:
    """Writes results as they come; counts and tells."""

    def __init__(self, source: Source, target: Target, output: Output, *, label: str) -> None:
        self._source, self._target, self._output = source, target, output
        self._label = label
        self._started = time.monotonic()
        self._progress: RecordProgress | None = None
        self.done = 0
        self.failed = 0
        self.tokens = 0

    @property
    def summary(self) -> str:
        """What was done so far."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{counted(self.done, 'record')}{failed}, {self.tokens:,} tokens"

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
                with self._new_progress() as self._progress:
                    yield
        except (KeyboardInterrupt, EngineCrashedError):
            if not self._target.writer.can_resume:
                self._target.write(self._target.writer.tail())  # so that it can be read
            self._tell_stopped()
            raise
        self._target.write(self._target.writer.tail())
        self._tell_done()

    def write(self, record: Record, fields: dict[str, Any], *, tokens: int = 0) -> None:
        """Write a record with what is added to it; `tokens` were generated for it."""
        # Counted first: whoever reads the record may stop us at once.
        self._count(record, tokens)
        self._target.write(self._target.writer.record(record.fields, fields))

    def write_failed(self, record: Record, error: GptcliError) -> None:
        """Write a record with its error, and say so on stderr."""
        message = f"{record.place}: {error.message}"
        found = error_from_code(error.code, message)
        self.failed += 1
        self._count(record, 0)
        self._target.write(self._target.writer.failed(record.fields, found))
        if self.failed <= FAILURES_SHOWN:
            self._output.warning(message)
        elif self.failed == FAILURES_SHOWN + 1:
            self._output.warning("more records failed: they are marked in the output")

    def _count(self, record: Record, tokens: int) -> None:
        self.done += 1
        self.tokens += tokens
        if self._progress is not None:
            self._progress.advance(self.done, self.tokens, record.end)

    def _new_progress(self) -> RecordProgress:
        size, before = self._source.size_bytes, self._target.skipped
        return RecordProgress(self._output, self._label, size, before=before)

    def _tell_stopped(self) -> None:
        fact = f"stopped after {counted(self.done + self._target.skipped, 'record')}"
        resumes = self._target.is_file and self._target.writer.can_resume
        self._output.status(f"{fact}; the same command with --resume goes on" if resumes else fact)

    def _tell_done(self) -> None:
        seconds = time.monotonic() - self._started
        speed = f", {self.done / seconds:,.1f}/s" if seconds > 0 else ""
        said = f"{counted(self.done, 'record')} in {duration(seconds)}{speed}, {self.tokens:,} tokens"
        if self._target.skipped and not self.done:
            said = f"all {counted(self._target.skipped, 'record')} were there already"
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
                f"{failed:,} of {counted(whole, 'record')} failed{earlier}", records=whole, failed=failed
            )


def count_records(records: Iterable[Record]) -> tuple[int, int]:
    """Return how many records there are, and how many of them cannot be read."""
    done = broken = 0
    for record in records:
        done += 1
        broken += record.error is not None
    return done, broken
