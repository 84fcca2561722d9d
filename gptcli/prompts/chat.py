"""A conversation as a prompt: messages for a chat template, or a transcript for a base model."""

from __future__ import annotations

from collections.abc import Sequence

from gptcli.engine.api import Prompt
from gptcli.messages import Conversation, Message
from gptcli.prompts.compose import Document

SPEAKERS = {"user": "User", "assistant": "Assistant"}
TRANSCRIPT_INTRODUCTION = (
    "A conversation between a User and an Assistant. "
    "The Assistant gives short, helpful and truthful answers."
)
TRANSCRIPT_STOPS = tuple(f"\n{speaker}:" for speaker in SPEAKERS.values())

SUMMARY_HEADING = "Summary of the conversation so far:"
SUMMARY_REQUEST = (
    "Summarize our conversation so far for your own later use: facts, names, numbers, decisions, "
    "code that matters, and what is still open. Write only the summary, in at most 200 words."
)


def user_content(text: str, documents: Sequence[Document]) -> str:
    """Return a user's message: the text, then each document as a delimited block."""
    blocks = (
        f'<document name="{document.name or "stdin"}">\n{document.text.rstrip()}\n</document>'
        for document in documents
    )
    return "\n\n".join(part for part in (text, *blocks) if part)


def system_content(system: str, summary: str) -> str:
    """Return the system message: the user's, then what the turns that left were about."""
    parts = (system, f"{SUMMARY_HEADING}\n{summary}" if summary else "")
    return "\n\n".join(part for part in parts if part)


def chat_prompt(messages: Sequence[Message], *, is_chat: bool) -> Prompt:
    """Return the prompt for the next answer, or for the rest of a last one that is unfinished."""
    return Conversation(tuple(messages)) if is_chat else transcript(messages)


def transcript(messages: Sequence[Message]) -> str:
    """Return the form in which a base model goes on as the assistant.

    The prompt of a turn begins that of the next, so that it is evaluated once. It ends without a
    space: the answer's first token brings it.
    """
    system = [message.content for message in messages if message.role == "system"]
    lines = [*system] if system else [TRANSCRIPT_INTRODUCTION]
    lines += [
        f"{SPEAKERS[message.role]}: {message.content}"
        for message in messages
        if message.role != "system"
    ]
    if not messages or messages[-1].role != "assistant":
        lines.append(f"{SPEAKERS['assistant']}:")
    return "\n\n".join(lines)


def summary_prompt(messages: Sequence[Message], *, is_chat: bool) -> Prompt:
    """Return the prompt for a summary. It begins as the conversation does: that is not read again."""
    if is_chat:
        return Conversation((*messages, Message("user", SUMMARY_REQUEST)))
    return f"{transcript(messages)}\n\nSummary of the conversation between User and Assistant:"
