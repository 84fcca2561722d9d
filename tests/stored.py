"""Chats in the log, for tests."""

from __future__ import annotations

from gptcli.store.conversations import Conversations


def chat(log: Conversations, *texts: str) -> str:
    """Keep a chat: what the user says and what is answered, in turns."""
    cid = log.begin("chat", "tiny")
    for number, text in enumerate(texts):
        message = log.add(cid, "assistant" if number % 2 else "user", text)
        if number % 2:
            log.finish(message, text, "stop")
    return cid


def texts(log: Conversations, cid: str) -> list[str]:
    return [message.text for message in log.load(cid).messages]
