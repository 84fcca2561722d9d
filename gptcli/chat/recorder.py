"""Writes a chat to the store as it goes. Where the disk refuses, it says so once; the chat goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gptcli.chat.turns import Turn
from gptcli.engine.api import ModelInfo
from gptcli.errors import StorageError
from gptcli.prompts.compose import Document
from gptcli.sampling import SamplingParams

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations
    from gptcli.store.records import StoredConversation

KIND = "chat"


class Recorder:
    """One conversation in the store; without a store, it does nothing. Ids are None then.

    The conversation begins with its first message. `on_failure` hears why nothing is kept any more.
    """

    def __init__(self, store: Conversations | None, on_failure: Callable[[str], object]) -> None:
        self.store = store
        self._on_failure = on_failure
        self.cid: str | None = None

    def ask(
        self,
        model: str,
        system: str,
        settings: Mapping[str, Any],
        text: str,
        documents: Sequence[Document],
    ) -> int | None:
        """Keep what the user says: on the disk when this returns."""
        with self._tolerant() as store:
            if store is None:
                return None
            from gptcli.store.records import Attachment

            if self.cid is None:
                self.cid = store.begin(KIND, model, system=system, settings=settings)
            attachments = [Attachment(each.name, each.text) for each in documents]
            return store.add(self.cid, "user", text, attachments)
        return None

    def begin_answer(self, model: ModelInfo, sampling: SamplingParams, model_hash: str) -> int | None:
        """Keep that an answer begins, and what it is made with."""
        with self._tolerant() as store:
            if store is None or self.cid is None:
                return None
            from gptcli.store.records import Provenance

            origin = Provenance.of(model, sampling, model_hash)
            return store.add(self.cid, "assistant", "", provenance=origin)
        return None

    def reopen(self, answer_id: int | None) -> None:
        """Keep that a finished answer goes on."""
        with self._tolerant() as store:
            if store is not None and answer_id is not None:
                store.reopen(answer_id)

    def grow(self, answer_id: int | None, text: str, thinking: str) -> None:
        """Keep an answer so far, soon."""
        if self.store is not None and answer_id is not None:
            self.store.grow(answer_id, text, thinking=thinking)

    def finish(self, turn: Turn) -> None:
        """Keep a turn's answer, and how it ended."""
        with self._tolerant() as store:
            if store is not None and turn.answer_id is not None and turn.finish_reason is not None:
                store.finish(
                    turn.answer_id,
                    turn.answer,
                    turn.finish_reason,
                    turn.usage,
                    turn.timings,
                    thinking=turn.thinking,
                )

    def flush(self) -> None:
        """Keep what has grown, now."""
        with self._tolerant() as store:
            if store is not None:
                store.flush()

    def take_back(self, last_id: int | None) -> None:
        """Mark the messages after one as taken back; None: all."""
        with self._tolerant() as store:
            if store is not None and self.cid is not None:
                store.remove_after(self.cid, last_id or 0)

    def set_state(self, model: str, system: str, settings: Mapping[str, Any]) -> None:
        """Keep what the conversation goes on with."""
        with self._tolerant() as store:
            if store is not None and self.cid is not None:
                store.set_model(self.cid, model)
                store.set_system(self.cid, system)
                store.set_settings(self.cid, settings)

    def rename(self, title: str) -> None:
        with self._tolerant() as store:
            if store is not None and self.cid is not None:
                store.rename(self.cid, title)

    def fork(self) -> tuple[str | None, StoredConversation | None]:
        """Go on in a copy; return the id of the original, and the copy. None where nothing is kept."""
        with self._tolerant() as store:
            if store is not None and self.cid is not None:
                original, copy = self.cid, store.load(store.fork(self.cid))
                self.cid = copy.id
                return original, copy
        return None, None

    @contextmanager
    def _tolerant(self) -> Iterator[Conversations | None]:
        try:
            yield self.store
        except StorageError as error:
            self.store = self.cid = None
            self._on_failure(error.message)
