"""The progress of a run over records."""

from __future__ import annotations

import time
from collections import deque

from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output
from gptcli.output.progress import Progress

UPDATE_EVERY_S = 0.2
RATE_SPAN_S = 10.0


class RecordProgress(Progress):
    """How many records are done and how fast; of an input whose size is known, how long still.

    The share is that of the input's bytes, from which the number of all records is estimated. Rates
    are those of the last `RATE_SPAN_S` seconds. `before` counts records of an earlier run.
    """

    says_all_in_words = True

    def __init__(self, output: Output, label: str, size_bytes: int | None, *, before: int = 0) -> None:
        super().__init__(output, label, size_bytes)
        self._size_bytes = size_bytes
        self._before = before
        self._updated = time.monotonic()
        self._samples: deque[tuple[float, int, int, int]] = deque()

    def advance(self, records: int, tokens: int, byte: int) -> None:
        """Say how many records are done, with how many tokens, and how far that is in the input."""
        now = time.monotonic()
        if now - self._updated < UPDATE_EVERY_S:
            return
        self._updated = now
        samples = self._samples
        samples.append((now, records, tokens, byte))
        while now - samples[0][0] > RATE_SPAN_S and len(samples) > 2:
            samples.popleft()
        self.update(byte, text=self._words())

    def _words(self) -> str:
        (begun, first, first_token, first_byte), (now, done, tokens, byte) = (
            self._samples[0],
            self._samples[-1],
        )
        whole, size = done + self._before, self._size_bytes
        if size and byte and byte < size:
            words = [f"{whole:,} of about {counted(round(whole * size / byte), 'record')}"]
        else:
            words = [counted(whole, "record")]
        if (span := now - begun) > 0:
            words.append(f"{(done - first) / span:,.1f} records/s")
            words.append(f"{(tokens - first_token) / span:,.0f} tokens/s")
            if size and byte > first_byte:
                words.append(f"{duration((size - byte) * span / (byte - first_byte))} left")
        return ", ".join(words)
