"""Write a long text of about N words: plan sections, then write paragraph after paragraph.

The length is kept by control. A sentence is held back until it is whole, and added only if the text
stays within 15 % of N, does not go in circles and does not talk about the task. A sentence that is
refused is asked for again with another seed; the longer that fails, the more is tried, and let through.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

from gptcli.engine.api import Engine, Prompt, Timings, Usage
from gptcli.errors import UsageError
from gptcli.messages import Conversation
from gptcli.prompts.longform import LongPrompts, Place
from gptcli.tasks.draft import LEAST_SECTION, Draft, LengthGoal, Section, Verdict
from gptcli.tasks.generate import GenerateTask, PreparedPrompt, prepare
from gptcli.tasks.outline import clean_title, is_like_any, section_count, write_outline
from gptcli.tasks.paragraphs import ParagraphSource, Written
from gptcli.tasks.prose import ends_sentence
from gptcli.tasks.remarks import is_closing, is_generic_title
from gptcli.tasks.repetition import Strictness, repeated_share

LEAST_WORDS, MOST_WORDS = 50, 50_000
DOUBTFUL_REPETITION = 0.2  # share of repeated 4-grams

# Failures in a row, and what changes after so many.
NEW_PARAGRAPH, NEXT_SECTION, FORGET, LOOSE, ANYTHING, GIVE_UP = 2, 3, 4, 5, 7, 12
_WITHOUT_HEADINGS = re.compile(
    r"\b(?:story|tale|novel|fable|poem|verses?|song|letter|e-?mail|speech|diary|dialogue)\b",
    re.IGNORECASE,
)
NEAR_ENOUGH, FAR_ENOUGH = 2, 4  # failures, when the text could end where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class LongStyle:
    """What kind of text: whether it shows headings.

    None: with a chat model, unless a story, a poem or a letter is asked for.
    """

    headings: bool | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The outline; empty for a text in one piece, and when the model finds its headings as it goes."""

    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SectionStarted:
    """The text that follows belongs to this section. `total` may grow."""

    number: int
    total: int
    heading: str


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the text, headings included."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How long the text is by now."""

    words_done: int
    words_wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The whole text: all pieces joined."""

    text: str
    words: int
    sections: tuple[Section, ...]
    usage: Usage
    timings: Timings
    warnings: tuple[str, ...] = ()


LongEvent = Planned | SectionStarted | Text | Progress | Done
LongEvents = Generator[LongEvent, None, None]


def check_words(words: int) -> None:
    """Raise UsageError for a length that cannot be asked for."""
    if not LEAST_WORDS <= words <= MOST_WORDS:
        raise UsageError(f"--words must be between {LEAST_WORDS} and {MOST_WORDS:,}, not {words:,}")


def write_long(
    engine: Engine, task: GenerateTask, words: int, style: LongStyle | None = None
) -> LongEvents:
    """Yield a text of about so many words as it is written; within 15 %, if the model writes at all.

    The same seed gives the same text. Raises UsageError for a length out of range, and what the
    engine raises.
    """
    check_words(words)
    style = style or LongStyle()
    prepared = prepare(engine, _leaving_room(task, engine.model.context_limit))
    return _Writer(engine, task, prepared, words, style).write()


def _leaving_room(task: GenerateTask, window: int) -> GenerateTask:
    # Half of the window is for what gets written.
    return replace(task, sampling=replace(task.sampling, max_tokens=window // 2))


class _Writer:
    """Writes one text: asks for sentences, and decides what to do when they are no good."""

    def __init__(
        self, engine: Engine, task: GenerateTask, prepared: PreparedPrompt, words: int, style: LongStyle
    ) -> None:
        self._engine = engine
        self._shows_headings = _shows_headings(style, task, prepared.prompt)
        self._prompts = LongPrompts(
            brief=prepared.prompt, words=words, shows_headings=self._shows_headings
        )
        self._source = ParagraphSource(engine, self._prompts, task.sampling, task.stop)
        self._draft = Draft(LengthGoal(words), shows_headings=self._shows_headings)
        self._dropped = prepared.dropped
        self._outline: list[str] = []
        self._total = section_count(words)
        self._number = 0
        self._section_heading = ""
        self._section_words = 0
        self._announced = 0
        self._begun = ""  # a sentence that is not whole yet
        self._wants_next = False  # the model began another section by itself
        self._failures = 0
        self._relaxed = 0  # sentences that were let through although they repeat others

    def write(self) -> LongEvents:
        if self._total > 1:
            self._plan()
        yield Planned(tuple(heading for heading in self._outline if heading))
        while not self._is_over():
            self._next_section()
            yield from self._section()
        if end := self._draft.close():
            yield from self._added(end, Strictness.STRICT)
        else:
            yield self._progress()
        yield Done(
            text=self._draft.text,
            words=self._draft.words,
            sections=self._draft.sections(),
            usage=self._source.usage,
            timings=self._source.timings,
            warnings=tuple(self._warnings()),
        )

    def _plan(self) -> None:
        is_base = isinstance(self._prompts.brief, str)
        if is_base and not self._shows_headings:
            return  # it would not read the plan
        # A base model's text begins without a heading.
        wanted = self._total - is_base
        titles = write_outline(
            self._engine, self._prompts.outline(wanted), wanted, self._source.next_seed
        )
        self._outline = ["", *titles] if is_base else titles
        self._source.prompts = replace(self._prompts, plan=titles)

    # ----------------------------------------------------------------------------------- sections

    def _next_section(self) -> None:
        heading = self._heading()
        self._begun = ""
        self._number += 1
        self._total = max(self._total, self._number)
        words = self._draft.words_left // (self._total - self._number + 1)
        self._section_heading, self._section_words = heading, words
        self._draft.begin_section(heading, words)

    def _heading(self) -> str:
        if self._number < len(self._outline):
            return self._outline[self._number]
        # The text may begin without a heading.
        if not self._shows_headings or not self._draft.text:
            return ""
        heading = clean_title(self._source.heading(self._written()))
        if is_like_any(heading, self._draft.headings) or is_generic_title(heading):
            return ""
        return "" if self._draft.is_far_from_end and is_closing(heading) else heading

    def _section(self) -> LongEvents:
        while not self._is_over():
            before = self._draft.words, self._draft.is_paragraph_open
            yield from self._paragraph()
            self._count_failures(*before)
            if self._draft.is_section_full or self._moves_on():
                return

    def _moves_on(self) -> bool:
        """Tell whether the model has no more to say here, and there is room for another section."""
        if self._draft.words_left < LEAST_SECTION:
            return False
        if self._wants_next and self._draft.is_section_half:
            return True
        is_last = self._number >= self._total
        return self._failures == NEXT_SECTION and not (is_last and self._draft.is_section_empty)

    def _is_over(self) -> bool:
        if self._draft.is_complete:
            return True
        if self._draft.is_near_enough:
            return self._failures >= (NEAR_ENOUGH if self._draft.is_nearly_whole else FAR_ENOUGH)
        if self._draft.spare or self._draft.words >= self._draft.goal.least:
            return self._failures >= NEXT_SECTION
        return self._failures >= GIVE_UP

    # --------------------------------------------------------------------------------- paragraphs

    def _paragraph(self) -> LongEvents:
        draft = self._draft
        if self._failures >= NEW_PARAGRAPH and ends_sentence(draft.text):
            draft.end_paragraph()
        strictness = self._strictness()
        sentences = self._source.sentences(
            self._written(),
            draft.lead,
            self._begun,
            retry=self._failures,
            forgets=self._failures >= FORGET,
        )
        self._begun, self._wants_next = "", False
        with closing(sentences):
            for sentence in sentences:
                verdict, piece = draft.offer(sentence, strictness)
                if piece:
                    yield from self._added(piece, strictness)
                self._wants_next = verdict is Verdict.HEADING
                if (
                    draft.is_complete
                    or draft.is_section_full
                    or verdict not in (Verdict.ACCEPTED, Verdict.SKIPPED)
                ):
                    return
        self._begun = self._source.rest
        if not self._begun:
            draft.end_paragraph()

    def _written(self) -> Written:
        place = Place(
            number=self._number,
            total=self._total,
            heading=self._section_heading,
            words=self._section_words,
        )
        return Written(self._draft.text, self._draft.section_from, place)

    def _added(self, piece: str, strictness: Strictness) -> LongEvents:
        headings = self._draft.headings
        if len(headings) > self._announced:
            self._announced = len(headings)
            yield SectionStarted(self._announced, max(self._total, self._announced), headings[-1])
        self._relaxed += strictness is Strictness.OFF
        yield Text(piece)
        yield self._progress()

    def _progress(self) -> Progress:
        return Progress(self._draft.words, self._draft.goal.words)

    # ----------------------------------------------------------------------------------- failures

    def _count_failures(self, words_before: int, was_open: bool) -> None:
        if self._draft.words == words_before and not self._begun:
            # The end of a paragraph is no failure.
            self._failures += not (was_open and not self._draft.is_paragraph_open)
        elif self._failures >= LOOSE:
            # What only went on by being less strict goes on like that, until it goes better.
            self._failures -= 1
        else:
            self._failures = 0

    def _strictness(self) -> Strictness:
        if self._failures >= ANYTHING:
            return Strictness.OFF
        return Strictness.LOOSE if self._failures >= LOOSE else Strictness.STRICT

    def _warnings(self) -> list[str]:
        draft, warnings = self._draft, [self._dropped] if self._dropped else []
        if draft.words < draft.goal.least:
            warnings.append(
                f"the model stopped writing after {draft.words:,} of {draft.goal.words:,} words"
            )
        if self._relaxed or repeated_share(draft.text) > DOUBTFUL_REPETITION:
            warnings.append("the text repeats itself; a larger model does so less")
        return warnings


def _shows_headings(style: LongStyle, task: GenerateTask, prompt: Prompt) -> bool:
    if style.headings is not None:
        return style.headings
    is_chat = isinstance(prompt, Conversation)
    return is_chat and _WITHOUT_HEADINGS.search(task.parts.instruction) is None
