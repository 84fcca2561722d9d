"""The prompts for a long text that is written section after section.

A base model reads the brief and what was written, and goes on. A chat model is asked for one section
after another, with what was written before as its own answers, and goes on with a section it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptcli.engine.api import Prompt
from gptcli.messages import Conversation, Message

PLAN_SHARE = 12  # of a long outline, the prompt shows this many titles at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a long text the next words belong: in which section, and what it is to be."""

    number: int  # of the section, from 1
    total: int
    heading: str = ""
    words: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompts:
    """The prompts of one long text. `brief` is what would be the whole prompt of a short one."""

    brief: Prompt
    words: int
    shows_headings: bool
    plan: Sequence[str] = ()

    def outline(self, sections: int) -> Prompt:
        """Return the prompt for the titles of so many sections, one a line, numbered."""
        if isinstance(self.brief, str):
            return f"{self.brief.rstrip()}\nContents:\n"
        if self.shows_headings:
            request = (
                f"Write only a numbered list of {sections} different section titles for this text, "
                "in the language of the text. Each title names one concrete aspect of the topic."
            )
        else:
            request = (
                f"Write only a numbered list of {sections} things that happen in this text, one after "
                "another, a few words each, in the language of the text."
            )
        return _with_request(self.brief, request)

    def section(self, place: Place, before: str, begun: str) -> Prompt:
        """Return the prompt to go on with a section.

        `before` is the end of what was written before this section, `begun` what there is of it.
        """
        if isinstance(self.brief, str):
            return self.brief + before + begun
        if not before.strip():
            conversation = _with_request(self.brief, f"{self._plan(place)}{self._first_request(place)}")
        else:
            conversation = _with_request(self.brief, f"{self._plan(place)}The text has several parts.")
            conversation = _and(conversation, Message("assistant", before.strip()))
            conversation = _and(conversation, Message("user", self._next_request(place)))
        begun = begun.lstrip("\n")
        return _and(conversation, Message("assistant", begun)) if begun else conversation

    def _plan(self, place: Place) -> str:
        if not self.plan:
            return ""
        first = (place.number - 1) // PLAN_SHARE * PLAN_SHARE
        shown = self.plan[first : first + PLAN_SHARE]
        titles = "".join(f"{number}. {title}\n" for number, title in enumerate(shown, first + 1))
        what = "has these sections" if self.shows_headings else "tells, one after another"
        return f"The text {what}:\n{titles}\n"

    def _first_request(self, place: Place) -> str:
        if place.total == 1:
            return f"Write about {self.words:,} words. Write only the text itself."
        if self.shows_headings and place.heading:
            return (
                f"Write now only the first section, “{place.heading}”, in about {place.words} words. "
                "The text goes on after it."
            )
        return f"Write now only the first part, in about {place.words} words. The text goes on after it."

    def _next_request(self, place: Place) -> str:
        length = f"in about {place.words} words"
        is_last = place.number >= place.total
        end = "This is the end of the text." if is_last else "The text goes on after it."
        if self.shows_headings and place.heading:
            return f"Now write the section “{place.heading}”, {length}. Write only its text. {end}"
        what = f" What happens now: {place.heading}." if place.heading else ""
        return (
            f"Go on with the text where you stopped, {length}.{what} Write only the text itself. {end}"
        )


def _with_request(brief: Conversation, request: str) -> Conversation:
    *before, last = brief.messages
    return Conversation((*before, Message(last.role, f"{last.content}\n\n{request}".lstrip())))


def _and(conversation: Conversation, message: Message) -> Conversation:
    return Conversation((*conversation.messages, message))
