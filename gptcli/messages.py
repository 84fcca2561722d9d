"""Chat messages, in the words of the field: a conversation is a tuple of messages with roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order. The engine turns them into a prompt with the model's chat template.

    A last message from the assistant is continued, not answered.
    """

    messages: tuple[Message, ...]
