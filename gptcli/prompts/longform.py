"""The prompts for a long text that is written section after section.

A model always goes on with what was written so far: a chat model continues its own last message, a
base model the text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptcli.engine.api import Prompt
from gptcli.messages import Conversation, Message

OUTLINE_EXAMPLE = """\
Article: growing herbs on a balcony
Sections:
1. Why the first basil died
2. Pots, soil and a place in the sun
3. How much water is too much
4. What to cook in July

Article: the night trains are back
Sections:
1. A ticket from Vienna to Paris
2. Who still travels while asleep
3. What a bed on rails costs
4. The plans of the railways

Article: {topic}
Sections:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompts:
    """The prompts of one long text. `brief` is the whole prompt for a short one."""

    brief: Prompt
    words: int
    topic: str
    shows_headings: bool
    headings: Sequence[str] = ()

    def outline(self, sections: int) -> Prompt:
        """Return the prompt for the titles of so many sections, one a line, numbered."""
        if isinstance(self.brief, str):
            return OUTLINE_EXAMPLE.format(topic=" ".join(self.topic.split()))
        if self.shows_headings:
            wanted = f"List the titles of the {sections} sections this text will have"
        else:
            wanted = f"List, in a few words each, the {sections} things that happen in this text"
        return _with_request(
            self.brief, f"Do not write the text yet. {wanted}, in order, numbered, one a line."
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
