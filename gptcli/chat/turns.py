"""Turns of a chat: as messages for a prompt, and as they come from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from gptcli.engine.api import FinishReason, Timings, Usage
from gptcli.errors import UsageError
from gptcli.messages import Message
from gptcli.prompts.chat import system_content, user_content
from gptcli.prompts.compose import Document
from gptcli.sampling import SamplingParams

if TYPE_CHECKING:
    from gptcli.store.records import StoredConversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A user's message and its answer. Without a `finish_reason` the answer is unfinished.

    The ids are those of the store, None where nothing is kept.
    """

    text: str
    documents: tuple[Document, ...] = ()
    answer: str = ""
    thinking: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    user_id: int | None = None
    answer_id: int | None = None

    @property
    def content(self) -> str:
        """What the model reads: the text, and the documents as delimited blocks."""
        return user_content(self.text, self.documents)

    @property
    def is_from_documents(self) -> bool:
        """Whether the answer was found in documents: no model wrote it, so that it has no usage."""
        return self.finish_reason == "stop" and self.usage is None

    @property
    def last_id(self) -> int | None:
        return self.user_id if self.answer_id is None else self.answer_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What a chat asks its model with. `thinking`: whether the model may reason before it answers."""

    system: str = ""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    thinking: bool = True


def messages_of(turns: Sequence[Turn], system: str, summary: str) -> list[Message]:
    """Return a conversation's messages. Users and assistant take turns, as chat templates want it:
    a message that got no answer becomes the beginning of the next.
    """
    first = system_content(system, summary)
    messages = [Message("system", first)] if first else []
    waiting: list[str] = []
    for turn in turns:
        waiting.append(turn.content)
        if turn.answer:
            messages += [Message("user", "\n\n".join(waiting)), Message("assistant", turn.answer)]
            waiting = []
    if waiting:
        messages.append(Message("user", "\n\n".join(waiting)))
    return messages


def answered(turns: Sequence[Turn]) -> int:
    """Return how many turns there are up to the last one with an answer."""
    return next((n for n in range(len(turns), 0, -1) if turns[n - 1].answer), 0)


# ----------------------------------------------------------------------------------------- the store


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatState:
    """What a conversation is continued with, besides its messages."""

    start: int = 0
    summary: str = ""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    thinking: bool = True


def state_of(
    turns: Sequence[Turn], start: int, summary: str, sampling: SamplingParams, *, thinking: bool
) -> Mapping[str, Any]:
    """Return the state as JSON members. The first turn in the prompt is named by its message."""
    given = {name: value for name, value in asdict(sampling).items() if value not in (None, ())}
    state: dict[str, Any] = {"sampling": given, "thinking": thinking}
    if start and start < len(turns):
        state["start"] = turns[start].user_id
    return state | ({"summary": summary} if summary else {})


def stored_state(conversation: StoredConversation, turns: Sequence[Turn]) -> ChatState:
    """Return the state of a stored conversation; what cannot be read of it is left."""
    settings = conversation.settings
    known = {each.name for each in fields(SamplingParams)} - {"logit_bias"}
    given = settings.get("sampling")
    values = {k: v for k, v in given.items() if k in known} if isinstance(given, dict) else {}
    try:
        sampling = SamplingParams(**values)
    except (UsageError, TypeError):
        sampling = SamplingParams()
    starts = (n for n, turn in enumerate(turns) if turn.user_id == settings.get("start"))
    summary = settings.get("summary")
    return ChatState(
        start=next(starts, 0),
        summary=summary if isinstance(summary, str) else "",
        sampling=sampling,
        thinking=settings.get("thinking") is not False,
    )


def stored_turns(conversation: StoredConversation) -> list[Turn]:
    """Return the turns of a stored conversation; an unfinished answer is one that can be continued."""
    turns: list[Turn] = []
    for message in conversation.messages:
        if message.role == "user":
            documents = tuple(Document(each.text, each.name) for each in message.attachments)
            turns.append(Turn(text=message.text, documents=documents, user_id=message.id))
        elif message.role == "assistant" and turns:
            turns[-1] = replace(
                turns[-1],
                answer=message.text,
                thinking=message.thinking,
                finish_reason=message.finish_reason,
                usage=message.usage,
                timings=message.timings,
                answer_id=message.id,
            )
    return turns


def conversation_of(
    cid: str, model: str, system: str, turns: Sequence[Turn], settings: Mapping[str, Any]
) -> StoredConversation:
    """Return a chat in the form of the store, also where nothing of it is kept."""
    from gptcli.store.records import Attachment, StoredConversation, StoredMessage

    messages: list[StoredMessage] = []
    for turn in turns:
        attachments = tuple(Attachment(each.name, each.text) for each in turn.documents)
        user = StoredMessage(id=turn.user_id or 0, role="user", text=turn.text, attachments=attachments)
        messages.append(user)
        if turn.answer or turn.thinking:
            answer = StoredMessage(
                id=turn.answer_id or 0,
                role="assistant",
                text=turn.answer,
                thinking=turn.thinking,
                finish_reason=turn.finish_reason,
                usage=turn.usage,
                timings=turn.timings,
            )
            messages.append(answer)
    now = time.time()
    return StoredConversation(
        id=cid,
        kind="chat",
        title="",
        model=model,
        system=system,
        settings=settings,
        forked_from=None,
        messages=tuple(messages),
        created=now,
        updated=now,
    )
