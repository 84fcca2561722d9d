"""Conversations as documents: Markdown to read, JSON to work with, HTML to pass on."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Literal

from gptcli.store.records import StoredConversation, StoredMessage, derived_title

TranscriptFormat = Literal["markdown", "json", "html"]

NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}
STYLE = """
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif;
  color: #1c1c1c; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: .85rem; color: #666; margin: 1.6rem 0 .3rem }
article + article { border-top: 1px solid #ddd; margin-top: 3rem }
.user { background: #f2f4f7; border-radius: .5rem; padding: .1rem 1rem }
.text { white-space: pre-wrap; overflow-wrap: anywhere } .note { color: #666; font-size: .85rem }
.removed { opacity: .5 } pre { background: #f6f6f6; padding: .7rem; overflow-x: auto }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2rem .6rem }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } .user, pre { background: #262626 }
}
"""
# The page loads nothing and runs nothing, whatever a model wrote into it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def transcript(conversations: Iterable[StoredConversation], form: TranscriptFormat) -> Iterator[str]:
    """Yield the pieces of one document with all conversations. JSON: an array of objects."""
    if form == "json":
        return _json_array(conversations)
    if form == "html":
        return _html_page(conversations)
    return ("\n" * 2 * (number > 0) + markdown(each) for number, each in enumerate(conversations))


def conversation_json(conversation: StoredConversation) -> dict[str, Any]:
    """Return a conversation as JSON members, with all that is known of how each answer was made."""
    members = asdict(conversation)
    for message, each in zip(members["messages"], conversation.messages, strict=True):
        message["is_unfinished"] = each.is_unfinished
    return members


def markdown(conversation: StoredConversation) -> str:
    """Return a conversation as Markdown; it ends with a newline."""
    parts = [f"# {_title(conversation)}", f"*{_facts(conversation)}*"]
    if conversation.system:
        parts += ["## System", conversation.system.rstrip()]
    for message in conversation.messages:
        parts += [f"## {_heading(message)}", *_markdown_body(message)]
    return "\n\n".join(parts) + "\n"


# --------------------------------------------------------------------------------------- Markdown


def _markdown_body(message: StoredMessage) -> Iterator[str]:
    if message.thinking.strip():
        yield "\n".join(f"> {line}".rstrip() for line in message.thinking.strip().splitlines())
    if message.text.strip():
        yield message.text.rstrip()
    for attachment in message.attachments:
        fence = _fence(attachment.text)
        yield f"{attachment.name or 'stdin'}:\n\n{fence}\n{attachment.text.rstrip()}\n{fence}"
    if note := _note(message):
        yield f"*{note}*"


def _fence(text: str) -> str:
    """Return a fence that the text does not contain."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    return "`" * (longest + 1)


# ------------------------------------------------------------------------------------------- JSON


def _json_array(conversations: Iterable[StoredConversation]) -> Iterator[str]:
    import json

    yield "["
    for number, conversation in enumerate(conversations):
        yield ",\n" if number else "\n"
        yield json.dumps(conversation_json(conversation), ensure_ascii=False, indent=1)
    yield "\n]\n"


# ------------------------------------------------------------------------------------------- HTML


def _html_page(conversations: Iterable[StoredConversation]) -> Iterator[str]:
    yield (
        '<!DOCTYPE html>\n<html lang="und">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>gptcli</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    for conversation in conversations:
        yield f"<article>\n<h1>{html.escape(_title(conversation))}</h1>\n"
        yield f'<p class="note">{html.escape(_facts(conversation))}</p>\n'
        if conversation.system:
            yield f'<section>\n<h2>System</h2>\n<p class="text">{html.escape(conversation.system)}</p>\n'
            yield "</section>\n"
        for message in conversation.messages:
            yield _html_message(message)
        yield "</article>\n"
    yield "</body>\n</html>\n"


def _html_message(message: StoredMessage) -> str:
    kinds = message.role + (" removed" if message.is_removed else "")
    parts = [f'<section class="{html.escape(kinds)}">\n<h2>{_heading(message)}</h2>\n']
    if message.thinking.strip():
        parts.append(_html_details("Thinking", message.thinking))
    if message.role == "assistant":
        parts.append(_html_markdown(message.text))
    else:
        parts.append(f'<p class="text">{html.escape(message.text)}</p>\n')
    parts += [_html_details(each.name or "stdin", each.text) for each in message.attachments]
    if note := _note(message):
        parts.append(f'<p class="note">{html.escape(note)}</p>\n')
    return "".join(parts) + "</section>\n"


def _html_details(summary: str, text: str) -> str:
    return (
        f"<details>\n<summary>{html.escape(summary)}</summary>\n"
        f'<p class="text">{html.escape(text.strip())}</p>\n</details>\n'
    )


def _html_markdown(text: str) -> str:
    """Return Markdown as HTML: markup in it is escaped, pictures become links."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    rendered: str = reader.render(text)
    return rendered


# ------------------------------------------------------------------------------------------ facts


def _title(conversation: StoredConversation) -> str:
    if conversation.title:
        return conversation.title
    asked = (message.text for message in conversation.messages if message.role == "user")
    return derived_title(next(asked, "")) or conversation.id


def _facts(conversation: StoredConversation) -> str:
    facts = [conversation.kind, conversation.id, conversation.model, date_text(conversation.created)]
    return " · ".join(fact for fact in facts if fact)


def _heading(message: StoredMessage) -> str:
    return NAMES[message.role] + (" (taken back)" if message.is_removed else "")


def _note(message: StoredMessage) -> str:
    """Return what a reader should know of an answer: how it ended, with what it was made."""
    if message.role != "assistant":
        return ""
    ends = {None: "unfinished", "length": "cut at the limit of tokens", "cancelled": "stopped"}
    facts = [ends.get(message.finish_reason, "")]
    if message.provenance is not None:
        seed = message.provenance.sampling.get("seed")
        facts += [message.provenance.model, "" if seed is None else f"seed {seed}"]
    if message.usage is not None:
        facts.append(f"{message.usage.completion_tokens:,} tokens")
    return ", ".join(fact for fact in facts if fact)


def date_text(when: float) -> str:
    """Return a POSIX time as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
