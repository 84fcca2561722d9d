"""Asks a model for the next paragraph of a text, and gives it sentence by sentence."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain

from gptcli.engine.api import (
    Delta,
    Engine,
    Event,
    Finished,
    Generate,
    Prompt,
    Started,
    Timings,
    Tokenize,
    Usage,
    stream,
    tokenize,
)
from gptcli.prompts.longform import LongPrompts, Place
from gptcli.sampling import MAX_SEED, SamplingParams, new_seed
from gptcli.tasks.prose import SentenceStream

PARAGRAPH_TOKENS = 224
HEADING_TOKENS = 20
WINDOW = (
    4096  # tokens; what was written earlier is not read again: it costs time, and small models echo it
)
MARGIN = 16
SEED_STEP = 7919

# What long texts need and short ones do not; the user's own values come first.
# Measured: a chat model of 0.5B repeats 9 % of its 4-grams with the first row, 13 % with the second (8
# texts of 500 words). A base model of 270M repeats 5 % with the second; the first makes that 2 %, but
# then it leaves its topic: its words are 1.1 instead of 2.7 % of the text (12 texts of 700 words).
SAMPLING = {
    "chat": SamplingParams(
        dry_multiplier=0.8,
        dry_allowed_length=2,
        dry_penalty_last_n=1024,
        repeat_penalty=1.1,
        repeat_last_n=256,
    ),
    "base": SamplingParams(
        dry_multiplier=0.8,
        dry_allowed_length=3,
        dry_penalty_last_n=1024,
        repeat_penalty=1.05,
        repeat_last_n=256,
    ),
}
HOTTER = 0.1  # temperature added with each retry
HOTTEST = 1.2


@dataclass(frozen=True, slots=True)
class Written:
    """What there is of a text, and the section that goes on: it begins at `section_from`."""

    text: str
    section_from: int
    place: Place


class ParagraphSource:
    """The model's side of a long text. Every request has its own seed, made from the first one."""

    def __init__(
        self, engine: Engine, prompts: LongPrompts, sampling: SamplingParams, stops: Sequence[str]
    ) -> None:
        self._engine = engine
        self.prompts = prompts
        self._sampling = with_long_defaults(
            sampling, engine.model.sampling, is_chat=not isinstance(prompts.brief, str)
        )
        self._seed = first_seed(sampling)
        self._requests = 0
        # The text goes on where a stop string ended it, so what is left of one may come first.
        self._stops = tuple(stops)
        self._starts = tuple(start for stop in stops if (start := stop.strip()))
        self._meter = _Meter()
        self._window = self._working_window()
        self._tail_from = 0  # where the part of the text begins that the prompt repeats
        self.rest = ""  # the sentence that the token limit left unfinished
        self._was_cut = False

    @property
    def usage(self) -> Usage:
        return self._meter.usage

    @property
    def timings(self) -> Timings:
        return self._meter.timings

    def next_seed(self) -> int:
        """Return a seed that no request had yet."""
        self._requests += 1
        return (self._seed + SEED_STEP * self._requests) % MAX_SEED

    def sampling(self, retry: int = 0) -> SamplingParams:
        """Return the sampling of the next request: another seed each time, hotter with each retry."""
        seed = self.next_seed()
        usual = self._sampling.temperature
        if not retry or usual is None:
            return replace(self._sampling, seed=seed)
        return replace(
            self._sampling, seed=seed, temperature=max(usual, min(usual + HOTTER * retry, HOTTEST))
        )

    def sentences(
        self, written: Written, lead: str, begun: str, *, retry: int = 0, forgets: bool = False
    ) -> Generator[str, None, None]:
        """Yield the sentences of the text that comes next; closing it stops the model.

        `lead` and `begun` come after the text, and are not in it yet: a break or a heading, and the
        beginning of the next sentence, which is yielded with that sentence. `forgets`: show the model
        the last paragraph alone.
        """
        self.rest = ""
        most = min(PARAGRAPH_TOKENS, self._window // 4)
        request = Generate(
            prompt=self._fitting_prompt(written, lead + begun, most, forgets=forgets),
            sampling=replace(self.sampling(retry), max_tokens=most),
            stop=self._stops,
            thinking=False,
        )
        sentences = SentenceStream(begun)
        # A sentence is passed on when one more token has come: if the request ends there, the engine
        # has evaluated the same tokens every time, and the same seed gives the same text.
        complete: list[str] = []
        with closing(self._answer(request)) as pieces:
            for piece in chain(pieces, ("",)):
                for sentence in complete:
                    if self._is_stop(sentence):
                        return
                    yield sentence
                complete = sentences.feed(piece)
        rest = sentences.rest
        if not rest.strip() or self._is_stop(rest):
            return
        if self._was_cut:
            self.rest = rest
        else:
            yield rest

    def heading(self, written: Written) -> str:
        """Return the line that the model would write as the next heading."""
        request = Generate(
            prompt=self._fitting_prompt(written, "\n\n##", HEADING_TOKENS),
            sampling=replace(self.sampling(), max_tokens=HEADING_TOKENS),
            stop=("\n",),
            thinking=False,
        )
        return "".join(self._answer(request))

    # ------------------------------------------------------------------------------------- prompt

    def _working_window(self) -> int:
        limit = self._engine.model.context_limit
        brief = self._count(self.prompts.section(Place(number=1, total=1), "", ""))
        return min(limit, max(WINDOW, brief + WINDOW // 2))

    def _count(self, prompt: Prompt) -> int:
        return (
            tokenize(self._engine, Tokenize(prompt=prompt, thinking=False)).token_count if prompt else 0
        )

    def _fitting_prompt(
        self, written: Written, lead: str, answer: int, *, forgets: bool = False
    ) -> Prompt:
        """Return the prompt with as much of the text as the window holds.

        The part shown begins at the same place until it no longer fits, and then is halved, because
        a prompt that begins like the one before it is not evaluated again.
        """
        text, room = written.text, self._window - answer - MARGIN
        start = max(self._tail_from, text.rfind("\n\n")) if forgets else self._tail_from
        while True:
            prompt = self._prompt(written, start, lead)
            left = len(text) - start
            if not left or self._count(prompt) <= room:
                break
            start = _break_after(text, start + (left + 1) // 2)
        if not forgets:
            self._tail_from = start
        return prompt

    def _prompt(self, written: Written, start: int, lead: str) -> Prompt:
        here = max(start, written.section_from)
        text = written.text
        return self.prompts.section(written.place, text[start:here], f"{text[here:]}{lead}")

    def _answer(self, request: Generate) -> Generator[str, None, None]:
        self._was_cut = False
        self._meter.begin()
        try:
            with closing(stream(self._engine, request)) as events:
                for event in events:
                    self._meter.see(event)
                    if isinstance(event, Delta) and event.channel == "answer":
                        yield event.text
                    elif isinstance(event, Finished):
                        self._was_cut = event.reason == "length"
        finally:
            self._meter.end()

    def _is_stop(self, sentence: str) -> bool:
        return sentence.lstrip().startswith(self._starts)


class _Meter:
    """Tokens and seconds of all requests, also of those that were stopped early."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.timings = Timings()
        self.begin()

    def begin(self) -> None:
        self._started = time.perf_counter()
        self._first: float | None = None
        self._now = Usage()

    def see(self, event: Event) -> None:
        if isinstance(event, Started):
            self._now = Usage(prompt_tokens=event.prompt_tokens)
        elif isinstance(event, Delta):
            self._first = self._first or time.perf_counter()
            # A request that is stopped does not say how much it wrote; a delta is about a token.
            self._now = replace(self._now, completion_tokens=self._now.completion_tokens + 1)
        elif isinstance(event, Finished):
            self._now = event.usage

    def end(self) -> None:
        ended = time.perf_counter()
        first = self._first or ended
        self.usage += self._now
        self.timings = Timings(
            prompt_s=self.timings.prompt_s + first - self._started,
            generate_s=self.timings.generate_s + ended - first,
        )


def with_long_defaults(
    sampling: SamplingParams, of_model: SamplingParams, *, is_chat: bool
) -> SamplingParams:
    """Return the user's values, then those for long texts, then the model's own."""
    filled = sampling.with_defaults(of_model)
    ours = SAMPLING["chat" if is_chat else "base"]
    asked = {
        name: getattr(ours, name)
        for name in SamplingParams.__dataclass_fields__
        if getattr(sampling, name) is None and getattr(ours, name) not in (None, ())
    }
    return replace(filled, **asked, max_tokens=None)


def first_seed(sampling: SamplingParams) -> int:
    """Return the seed that all others follow from; greedy sampling needs none, yet retries do."""
    if sampling.seed is not None:
        return sampling.seed
    return 0 if sampling.temperature == 0 else new_seed()


def _break_after(text: str, at: int) -> int:
    """Return where the next paragraph after `at` starts; else the next word; else the text's end."""
    for mark in ("\n\n", " "):
        found = text.find(mark, at)
        if found >= 0:
            return found + len(mark)
    return len(text)
