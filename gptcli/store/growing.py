"""Answers that are being written: noted as they grow, written to the disk twice a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gptcli.errors import StorageError

INTERVAL_S = 0.5  # so that a process that is killed loses less than a second of an answer


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer so far."""

    text: str
    thinking: str


class GrowingAnswers:
    """Keeps the newest draft of each message until a thread of its own has written it.

    `write` may raise StorageError: then the drafts are kept, and `flush` tries again and raises.
    """

    def __init__(self, write: Callable[[Mapping[int, Draft]], None]) -> None:
        self._write = write
        self._drafts: dict[int, Draft] = {}
        self._timer: threading.Timer | None = None
        self._noting = threading.Lock()
        self._writing = threading.Lock()  # never waited for with `_noting` held

    def note(self, message_id: int, draft: Draft) -> None:
        """Keep a draft, and see that it is written within INTERVAL_S. Never blocks on the disk."""
        with self._noting:
            self._drafts[message_id] = draft
            if self._timer is None:
                self._timer = threading.Timer(INTERVAL_S, self._write_in_background)
                self._timer.daemon = True
                try:
                    self._timer.start()
                except RuntimeError:  # no thread is to be had: it is written when the answer ends
                    self._timer = None

    def flush(self) -> None:
        """Write what was noted, now. Raises StorageError."""
        with self._writing:
            with self._noting:
                drafts, self._drafts = self._drafts, {}
                timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            if not drafts:
                return
            try:
                self._write(drafts)
            except StorageError:
                with self._noting:
                    self._drafts = drafts | self._drafts
                raise

    def settle(self, message_id: int) -> None:
        """Forget a message's draft; when this returns, none of it is written any more."""
        with self._writing, self._noting:
            self._drafts.pop(message_id, None)

    def _write_in_background(self) -> None:
        try:
            self.flush()
        except StorageError:
            return  # said when the answer is finished
