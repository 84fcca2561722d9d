"""The prompts for a long text that is written section after section.

A model always goes on with what was written so far: a chat model continues its own last message, a
base model the text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptcli.engine.api import Prompt
from gptcli.messages import Conversation, Message

@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompts:
    """The prompts of one long text. `brief` is the whole prompt for a short one."""

    brief: Prompt
    words: int
    topic: str
    shows_headings: bool
    headings: Sequence[str] = ()

    def outline(self, brief: Conversation, sections: int) -> Conversation:
        """Return the prompt for the titles of so many sections, one a line, numbered."""
        if self.shows_headings:
            return _with_request(
                brief,
                f"Write only a numbered list of {sections} different section titles for this text, in the "
                "language of the text. Each title names one concrete aspect of the topic.",
            )
        return _with_request(
            brief,
            f"Write only a numbered list of {sections} things that happen in this text, one after "
            "another, a few words each, in the language of the text.",
        )

    def section(self, tail: str) -> Prompt:
        """Return the prompt to go on after `tail`, the end of what was written."""
        if isinstance(self.brief, str):
            return self.brief + tail
        conversation = _with_request(self.brief, self._request())
        if not tail:
            return conversation
        return replace(conversation, messages=(*conversation.messages, Message("assistant", tail)))

    def _request(self) -> str:
        plan = "".join(f"\n{number}. {title}" for number, title in enumerate(self.headings, 1))
        length = f"Write about {self.words:,} words"
        if not plan:
            return f"{length}. Write only the text itself."
        if self.shows_headings:
            return (
                f"{length} with these sections, each under its title as a Markdown heading (##):{plan}"
            )
        return f"{length} in which this happens, without headings:{plan}"


def _with_request(brief: Conversation, request: str) -> Conversation:
    *before, last = brief.messages
    return Conversation((*before, Message(last.role, f"{last.content}\n\n{request}".lstrip())))
