"""What the database gives back: conversations and messages as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from gptcli.engine.api import FinishReason, ModelInfo, Timings, Usage
from gptcli.messages import Role
from gptcli.sampling import SamplingParams

if TYPE_CHECKING:
    import sqlite3

TITLE_LENGTH = 60

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that a message carries: a file's name and its content."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an answer was made with: enough to make it again.

    `sampling` holds SamplingParams by field name, the seed among them, the gaps filled.
    `model_hash` is `engine.prompt_cache.model_fingerprint`, `template_hash` the SHA-256 of the chat
    template.
    """

    model: str = ""
    model_path: str = ""
    model_hash: str = ""
    build: str = ""
    template_hash: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ModelInfo, sampling: SamplingParams, model_hash: str = "") -> Provenance:
        """Return what a loaded model says of itself, with the sampling asked of it."""
        template = model.chat_template
        return cls(
            model=model.name,
            model_path=model.path,
            model_hash=model_hash,
            build=model.build,
            template_hash="" if template is None else hashlib.sha256(template.encode()).hexdigest(),
            sampling=asdict(sampling.with_defaults(model.sampling)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message as it is kept. `created` is a POSIX time.

    An answer without a `finish_reason` is unfinished: its process was killed, or is still writing it.
    `is_removed`: it was taken back by an undo, an edit or a retry.
    """

    id: int
    role: Role
    text: str
    thinking: str = ""
    attachments: tuple[Attachment, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    provenance: Provenance | None = None
    is_removed: bool = False
    created: float = 0.0

    @property
    def is_unfinished(self) -> bool:
        return self.role == "assistant" and self.finish_reason is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """What a list shows of a conversation. `title`: its own, or how its first message begins."""

    id: str
    kind: str
    title: str
    model: str
    message_count: int
    created: float
    updated: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation with its messages in order. `settings` is what its command keeps with it."""

    id: str
    kind: str
    title: str
    model: str
    system: str
    settings: Mapping[str, Any]
    forked_from: str | None
    messages: tuple[StoredMessage, ...]
    created: float
    updated: float


def read_summary(row: sqlite3.Row) -> ConversationSummary:
    """Return the summary in a row of a conversation, with `message_count` and `first_text`."""
    return ConversationSummary(
        id=row["id"],
        kind=row["kind"],
        title=row["title"] or derived_title(row["first_text"] or ""),
        model=row["model"],
        message_count=row["message_count"],
        created=row["created"],
        updated=row["updated"],
    )


def read_conversation(row: sqlite3.Row, messages: tuple[StoredMessage, ...]) -> StoredConversation:
    """Return the conversation in a row of `conversations`."""
    return StoredConversation(
        id=row["id"],
        kind=row["kind"],
        title=row["title"],
        model=row["model"],
        system=row["system"],
        settings=json.loads(row["settings"]),
        forked_from=row["forked_from"],
        messages=messages,
        created=row["created"],
        updated=row["updated"],
    )


def read_message(row: sqlite3.Row, attachments: tuple[Attachment, ...]) -> StoredMessage:
    """Return the message in a row of `messages`."""
    return StoredMessage(
        id=row["id"],
        role=row["role"],
        text=row["text"],
        thinking=row["thinking"],
        attachments=attachments,
        finish_reason=row["finish_reason"],
        usage=_value(Usage, row["usage"]),
        timings=_value(Timings, row["timings"]),
        provenance=_value(Provenance, row["provenance"]),
        is_removed=bool(row["is_removed"]),
        created=row["created"],
    )


def derived_title(text: str) -> str:
    """Return how a text begins, as a title: one line, cut at a word if it is too long."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    start = line[: TITLE_LENGTH - 1]
    return (start.rpartition(" ")[0] or start) + "…"


def _value(cls: type[T], text: str | None) -> T | None:
    """Return a dataclass from its JSON; members that another version wrote are left out."""
    if text is None:
        return None
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in json.loads(text).items() if name in known})
