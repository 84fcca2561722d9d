"""A long text as it grows: what may be added to it, and when a section or the whole is long enough."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum, auto

from gptcli.tasks.prose import count_words, cut_at_clause, ends_sentence, separator
from gptcli.tasks.remarks import is_closing, is_heading, is_remark
from gptcli.tasks.repetition import RepetitionGuard, Strictness

TOLERANCE = 0.15
NEARLY = 0.95  # of the words: a text may end there with a paragraph
FAR = 0.25  # of the words are left: too early for a conclusion
# Of a section's words: where a paragraph may end it, and where any sentence.
SECTION_NEARLY, SECTION_OVER = 0.85, 1.1
LEAST_SECTION = 40  # words; what is left below that belongs to the section before


@dataclass(frozen=True, slots=True)
class LengthGoal:
    """How many words a text should have; `least` to `most` is near enough."""

    words: int

    @property
    def least(self) -> int:
        return math.ceil(self.words * (1 - TOLERANCE))

    @property
    def most(self) -> int:
        return math.floor(self.words * (1 + TOLERANCE))


class Verdict(Enum):
    """What became of a sentence."""

    ACCEPTED = auto()
    SKIPPED = auto()  # an announcement, a decoration: what follows it may still be good
    REPEATS = auto()
    HEADING = auto()  # the model goes on to its next section
    CLOSES = auto()  # the model comes to an end, too early
    TOO_LONG = auto()
    ENOUGH = auto()  # the section, or the text, is closer to its length without it


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the text, without the heading's mark."""

    heading: str
    text: str


class Draft:
    """A text under construction. `text` only grows, by what `offer` returns."""

    def __init__(self, goal: LengthGoal, *, shows_headings: bool) -> None:
        self.goal = goal
        self.text = ""
        self.words = 0
        self.spare = ""  # the shortest sentence that was too long
        self._shows_headings = shows_headings
        self._guard = RepetitionGuard()
        self._paragraph_is_open = False
        self._heading = ""
        self._heading_is_pending = False
        self._starts: list[tuple[str, int]] = []
        self._section_start = 0
        self._section_goal = 0
        self.is_complete = False

    @property
    def words_left(self) -> int:
        return self.goal.words - self.words

    @property
    def section_from(self) -> int:
        """Where the current section begins in the text."""
        return len(self.text) if self._heading_is_pending else self._starts[-1][1]

    @property
    def is_far_from_end(self) -> bool:
        last_section = min(self._section_goal, self.goal.words // 2)
        return self.words_left > max(FAR * self.goal.words, last_section)

    @property
    def lead(self) -> str:
        """What stands between the text and its next sentence: a break, a heading that is due."""
        return f"{self._gap()}{self._heading_mark()}"

    @property
    def is_paragraph_open(self) -> bool:
        return self._paragraph_is_open

    @property
    def is_section_empty(self) -> bool:
        return self.words == self._section_start

    @property
    def is_section_half(self) -> bool:
        return 2 * (self.words - self._section_start) >= self._section_goal

    @property
    def is_section_full(self) -> bool:
        done = self.words - self._section_start
        share = SECTION_OVER if self._paragraph_is_open else SECTION_NEARLY
        return done >= share * self._section_goal and self.words_left >= LEAST_SECTION

    @property
    def is_nearly_whole(self) -> bool:
        return self.words >= NEARLY * self.goal.words

    @property
    def is_near_enough(self) -> bool:
        is_end = ends_sentence(self.text) or not self._paragraph_is_open
        return self.goal.least <= self.words <= self.goal.most and is_end

    @property
    def headings(self) -> list[str]:
        return [heading for heading, _ in self._starts]

    def sections(self) -> tuple[Section, ...]:
        """Return the sections so far, each with its own text."""
        ends = [*(start for _, start in self._starts), len(self.text)][1:]
        return tuple(
            Section(heading, self.text[start:end].removeprefix(f"## {heading}").strip())
            for (heading, start), end in zip(self._starts, ends, strict=True)
        )

    def begin_section(self, heading: str, words: int) -> None:
        """Start a section; its heading is added with its first sentence."""
        self.end_paragraph()
        self._heading, self._heading_is_pending = heading, True
        self._section_start, self._section_goal = self.words, words

    def end_paragraph(self) -> None:
        """Let the next sentence begin a paragraph."""
        self._paragraph_is_open = False
        if self.is_nearly_whole and self.is_near_enough:
            self.is_complete = True

    def offer(self, sentence: str, strictness: Strictness) -> tuple[Verdict, str]:
        """Add a sentence if it belongs into the text; return what was added."""
        body = sentence.strip()
        if not re.search(r"\w", body):
            return Verdict.SKIPPED, ""
        if is_remark(body):
            # Before a section it is an announcement; within, the model is done with the text.
            is_end = strictness is Strictness.STRICT and not self.is_section_empty
            return Verdict.CLOSES if is_end else Verdict.SKIPPED, ""
        if is_heading(body):
            # Before its text, the model only repeats the section's heading.
            ends_section = (
                self._shows_headings and strictness is Strictness.STRICT and not self.is_section_empty
            )
            return Verdict.HEADING if ends_section else Verdict.SKIPPED, ""
        line_breaks = _white(sentence).count("\n")
        # A list may end with any line.
        if line_breaks > 1 or (line_breaks and self.is_nearly_whole):
            self.end_paragraph()
            if self.is_complete or self.is_section_full:
                return Verdict.ENOUGH, ""
        if self._guard.objects(body, strictness):
            return Verdict.REPEATS, ""
        if self.is_far_from_end and is_closing(body) and strictness is Strictness.STRICT:
            return Verdict.CLOSES, ""
        piece = self._piece(sentence)
        after = self.words + count_words(piece)
        if self.is_near_enough and after - self.goal.words >= self.words_left:
            self.is_complete = True
            return Verdict.ENOUGH, ""
        if after > self.goal.most:
            if not self.spare or count_words(body) < count_words(self.spare):
                self.spare = body
            return Verdict.TOO_LONG, ""
        self._add(piece, body)
        return Verdict.ACCEPTED, piece

    def close(self) -> str:
        """End the text, with a part of a sentence if it is too short without; return what was added."""
        added = ""
        if self.words < self.goal.least and self.spare:
            lead = self.lead or separator(self.text, self.spare)
            room = self.goal.most - self.words - count_words(lead)
            part = cut_at_clause(self.spare, self.goal.least - self.words - count_words(lead), room)
            if part:
                added = lead + part.rstrip(" ,;:—–，、；：")
                self._add(added, part)
        if self._paragraph_is_open and not ends_sentence(self.text):
            added += "…"
            self.text += "…"
        self.is_complete = True
        return added

    def _add(self, piece: str, body: str) -> None:
        if self._heading_is_pending:
            self._heading_is_pending = False
            self._starts.append((self._heading, len(self.text) + len(self._gap())))
        self.text += piece
        self.words += count_words(piece)
        self._guard.add(body)
        self._paragraph_is_open = True
        if self.words >= self.goal.words and self.is_near_enough:
            self.is_complete = True

    def _piece(self, sentence: str) -> str:
        body = sentence.strip()
        if not self._paragraph_is_open:
            return self.lead + body
        white = _white(sentence)
        if "\n" in white:
            return self._line_break(body) + body
        return (" " if white else separator(self.text, body)) + body

    def _line_break(self, body: str) -> str:
        # Lists and verses stay together; paragraphs that a model parts by one line break do not.
        last_line = self.text[self.text.rfind("\n") + 1 :]
        is_list = re.match(r"(?:[-*+•]|\d+[.)])\s", body)
        return "\n" if is_list or len(last_line) < 60 else "\n\n"

    def _gap(self) -> str:
        return "\n\n" if self.text and not self._paragraph_is_open else ""

    def _heading_mark(self) -> str:
        if not (self._shows_headings and self._heading_is_pending and self._heading):
            return ""
        return f"## {self._heading}\n\n"


def _white(sentence: str) -> str:
    return sentence[: len(sentence) - len(sentence.lstrip())]
