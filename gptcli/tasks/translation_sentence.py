"""One sentence: ask for it, look for faults, and ask in other ways until there are none.

The ways, each after the one before failed: the model's best form, without letters of a script that the
target lacks; its other forms; decoding within a grammar that carries over what was lost; samples; the
same grammar for numbers; and pieces, cut at what is protected or at a clause. Of those without a fault,
the one is taken that agrees most with the others. What fails in all ways is not translated; tolerable
faults skip the last three.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptcli.engine.api import Completion, Generate
from gptcli.errors import ContextOverflowError, GptcliError
from gptcli.languages import Language
from gptcli.prompts.translation import Form, TranslationPrompt, examples
from gptcli.sampling import OutputConstraint, SamplingParams
from gptcli.tasks.chrf import consensus
from gptcli.tasks.constrained import carrying, only_names, without
from gptcli.tasks.jobs import Job
from gptcli.tasks.ordered import Result
from gptcli.tasks.prose import count_words, cut_at_clause
from gptcli.tasks.translation_checks import (
    Fault,
    Finding,
    findings,
    foreign_letters,
    is_from_examples,
    missing_terms,
    number_spans,
    units,
)
from gptcli.tasks.translation_text import (
    Part,
    Peeled,
    Protected,
    is_translatable,
    peel,
    tags_in,
    text_of,
    tidied,
)

Term = tuple[str, str]

# Of candidates beside the likeliest text. Three of them gave 2.3 chrF more than that one alone; at 0.7
# they gave nothing. Scores of the model, of the translation or of the source after it, chose no better.
BEST_TEMPERATURE = 0.4
RETRY_TEMPERATURE = 0.5
# Without top-k, top-p would sort the whole vocabulary for each token, which takes longer than the token.
TOP_K, TOP_P, MIN_P = 40, 0.95, 0.02
RETRIES = 4
SPLIT_WORDS = 10  # a sentence that failed is cut in two if it has so many words
SPLITS = 2  # how often in a row
# Tokens that an answer may take: for each letter of the source, or three for a Chinese character. A
# script that the model's vocabulary knows little of takes a token a letter.
TOKENS_PER_UNIT, TOKENS_BESIDE = 0.8, 24
# Another try takes at most so many times the tokens of one that was as long as it should be: within a
# grammar that waits for a number, small models repeat themselves to the end.
AGAIN_LENGTH = 1.5
AS_LONG = frozenset({Fault.PLACEHOLDERS, Fault.NUMBERS, Fault.INVENTED, Fault.TERMS, Fault.LEFT})
# What a grammar brings over at once; a number that is missing, a sample has sooner.
CARRIED = frozenset({Fault.PLACEHOLDERS, Fault.TERMS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all sentences of a segment have in common."""

    forms: tuple[Form, ...]
    source: Language
    target: Language
    best: int = 1
    seed: int = 0
    terms: tuple[Term, ...] = ()  # of the whole glossary
    context: str = ""
    protected: tuple[str, ...] = ()  # what stands elsewhere in the segment: no answer may have it


@dataclass(frozen=True, slots=True)
class Draft:
    """A translation of one sentence, and what is wrong with it. `is_kept`: it is the source itself."""

    text: str
    findings: tuple[Finding, ...] = ()
    is_kept: bool = False


@dataclass(slots=True)
class Sentence:
    """A sentence to be translated; nothing loose stands at its ends."""

    parts: Sequence[Part]
    settings: Settings
    splits: int = SPLITS
    drafts: list[Draft] = field(default_factory=list)
    errors: list[GptcliError] = field(default_factory=list)
    longest: int | None = None  # tokens of the longest draft that was as long as it should be
    has_carried: bool = False

    @property
    def text(self) -> str:
        return text_of(self.parts)

    @property
    def _clean(self) -> list[Draft]:
        return [draft for draft in self.drafts if not draft.findings]

    @property
    def _usable(self) -> list[Draft]:
        return [draft for draft in self.drafts if all(each.is_tolerable for each in draft.findings)]

    @property
    def _faults(self) -> set[Fault]:
        return {finding.fault for draft in self.drafts for finding in draft.findings}

    @property
    def terms(self) -> tuple[Term, ...]:
        return terms_in(self.text, self.settings.terms)

    def job(self) -> Job[Draft]:
        """Translate. Raises the error of a sentence that no request could be answered for."""
        if not is_translatable(self.parts):
            return Draft(self.text)
        for ask in (
            self._first,
            self._again,
            self._carrying,
            self._sampled,
            self._carrying_numbers,
            self._in_pieces,
        ):
            yield from ask()
            if self._clean:
                return _most_agreeing(self._clean)
        if self._usable:
            return _most_agreeing(self._usable)
        if self.errors and not self.drafts:
            raise self.errors[0]
        return Draft(self.text, self.drafts[0].findings, is_kept=True)

    # ------------------------------------------------------------------------------------- the ways

    def _first(self) -> Job[None]:
        form = self.settings.forms[0]
        samples = [self._request(form, BEST_TEMPERATURE, seed) for seed in range(1, self.settings.best)]
        yield from self._ask([self._request(form), *samples])

    def _again(self) -> Job[None]:
        forms = self.settings.forms
        if self._usable and Fault.LEFT in self._faults and self._may_have_only_names:
            yield from self._ask([self._request(forms[0], constraint=only_names())])
            return
        for form in forms[1:3]:  # in turn: the examples of each take as long to read as an answer
            yield from self._ask([self._request(form)])
            if self._clean:
                return

    def _carrying(self) -> Job[None]:
        if self._faults & CARRIED:
            yield from self._carried()

    def _carrying_numbers(self) -> Job[None]:
        if Fault.NUMBERS in self._faults and not self._usable and not self.has_carried:
            yield from self._carried()

    def _carried(self) -> Job[None]:
        pieces = self._pieces_to_carry()
        if not pieces:
            return
        self.has_carried = True
        constraint = carrying(pieces, self._foreign_letters)
        for form in self.settings.forms[:2]:
            yield from self._ask([self._request(form, constraint=constraint)])
            if self._clean:
                return

    def _sampled(self) -> Job[None]:
        if self._usable:
            return
        forms = self.settings.forms
        requests = [
            self._request(forms[seed % len(forms)], RETRY_TEMPERATURE, 101 + seed)
            for seed in range(RETRIES)
        ]
        yield from self._ask(requests)

    def _in_pieces(self) -> Job[None]:
        pieces = self._cut()
        if len(pieces) < 2 or (self._usable and Fault.SHORT not in self._faults):
            return
        peeled = [_without_opening_marks(peel(piece)) for piece in pieces]
        drafts = yield from together(
            [Sentence(each.body, self.settings, self.splits - 1).job() for each in peeled]
        )
        text = "".join(each.around(draft.text) for each, draft in zip(peeled, drafts, strict=True))
        kept = [finding for draft in drafts if draft.is_kept for finding in draft.findings]
        self.drafts.append(Draft(text, tuple(dict.fromkeys((*kept, *self._findings(text))))))

    @property
    def _foreign_letters(self) -> str:
        """The letters that the target's script lacks; "" if the translation may well have them.

        Small models leave a word as it is where they know none for it, and know one if they must.
        """
        letters = foreign_letters(self.settings.source, self.settings.target)
        shown = "".join(part.shown for part in self.parts if isinstance(part, Protected))
        given = shown + "".join(wanted for _, wanted in self.terms)
        return "" if letters and re.search(f"[{letters}]", given) else letters

    @property
    def _may_have_only_names(self) -> bool:
        """Whether a word in small Latin letters would be one that was left."""
        settings = self.settings
        is_plain = not any(isinstance(part, Protected) for part in self.parts) and not self.terms
        return settings.source.script == "Latn" != settings.target.script and is_plain

    # ---------------------------------------------------------------------------------------- asking

    def _request(
        self,
        form: Form,
        temperature: float = 0.0,
        seed: int = 0,
        constraint: OutputConstraint | None = None,
    ) -> Generate:
        settings = self.settings
        if constraint is None and (letters := self._foreign_letters):
            constraint = without(letters)
        filled = form(
            TranslationPrompt(
                text=self.text,
                source=settings.source,
                target=settings.target,
                context=settings.context,
                terms=self.terms,
            )
        )
        sampling = SamplingParams(
            temperature=temperature,
            top_k=TOP_K,
            top_p=TOP_P,
            min_p=MIN_P,
            seed=settings.seed + seed,
            max_tokens=self._most_tokens,
        )
        return Generate(
            prompt=filled.prompt,
            sampling=sampling,
            constraint=constraint,
            stop=filled.stop,
            thinking=False,
        )

    @property
    def _most_tokens(self) -> int:
        most = round(TOKENS_PER_UNIT * units(self.text))
        if self.longest is not None:
            most = min(most, round(AGAIN_LENGTH * self.longest))
        return TOKENS_BESIDE + most

    def _ask(self, requests: Sequence[Generate]) -> Job[None]:
        results = yield requests
        for result in results:
            if isinstance(result, ContextOverflowError):
                self.errors.append(result)
            elif isinstance(result, GptcliError):
                raise result
            elif isinstance(result, Completion):
                text = tidied(result.text, self.text, self.settings.target)
                found = self._findings(text, was_cut=result.finish_reason == "length")
                self.drafts.append(Draft(text, tuple(found)))
                if all(each.fault in AS_LONG for each in found):
                    self.longest = max(self.longest or 0, result.usage.completion_tokens)

    def _findings(self, text: str, *, was_cut: bool = False) -> list[Finding]:
        settings = self.settings
        found = []
        if lost := _lost(self.parts, text, settings.protected):
            found.append(Finding(Fault.PLACEHOLDERS, lost))
        # What is protected is no language, and its digits are not numbers.
        bare, translated = text_of(_plain(self.parts)), _without(self.parts, text)
        found += findings(bare, translated, settings.source, settings.target, was_cut=was_cut)
        if is_from_examples(bare, translated, examples(settings.source, settings.target)):
            found.append(Finding(Fault.LEFTOVER, "a sentence of the prompt"))
        missing = missing_terms(self.terms, text)
        found += [Finding(Fault.TERMS, f"{term} = {wanted}") for term, wanted in missing]
        return found

    # ---------------------------------------------------------------------------------------- pieces

    def _pieces_to_carry(self) -> list[str]:
        """Return placeholders, numbers and the terms' translations, in the order of the source."""
        spots: list[tuple[int, str]] = []
        at = 0
        for part in self.parts:
            if isinstance(part, Protected):
                spots.append((at, part.shown))
                at += len(part.shown)
                continue
            spots += [(at + start, part[start:end]) for start, end in number_spans(part)]
            for term, wanted in self.terms:
                if (found := re.search(re.escape(term), part, re.IGNORECASE)) is not None:
                    spots.append((at + found.start(), wanted))
            at += len(part)
        return [piece for _, piece in sorted(spots)]

    def _cut(self) -> list[list[Part]]:
        if any(isinstance(part, Protected) for part in self.parts):
            return [[part] for part in self.parts]
        words = count_words(self.text)
        if not self.splits or words < SPLIT_WORDS:
            return []
        first = cut_at_clause(self.text, words // 4, words * 3 // 4)
        return [[first], [self.text[len(first) :]]]


def together(jobs: Sequence[Job[Any]]) -> Generator[Sequence[Generate], Sequence[Result], list[Any]]:
    """Return the values of several jobs that ask side by side."""
    values: dict[int, Any] = {}
    waiting: dict[int, Sequence[Generate]] = {}

    def go_on(at: int, results: Sequence[Result] | None) -> None:
        try:
            waiting[at] = next(jobs[at]) if results is None else jobs[at].send(results)
        except StopIteration as end:
            waiting.pop(at, None)
            values[at] = end.value

    for at in range(len(jobs)):
        go_on(at, None)
    while waiting:
        asked = dict(waiting)
        results = yield [request for requests in asked.values() for request in requests]
        for at, requests in asked.items():
            own, results = results[: len(requests)], results[len(requests) :]
            go_on(at, own)
    return [values[at] for at in range(len(jobs))]


def terms_in(text: str, terms: Sequence[Term]) -> tuple[Term, ...]:
    """Return the glossary's terms that occur in a text as words."""
    return tuple(term for term in terms if _term_pattern(term[0]).search(text))


def _term_pattern(term: str) -> re.Pattern[str]:
    before = r"(?<!\w)" if term[0].isascii() and term[0].isalnum() else ""
    after = r"(?!\w)" if term[-1].isascii() and term[-1].isalnum() else ""
    return re.compile(before + re.escape(term) + after, re.IGNORECASE)


def _without_opening_marks(peeled: Peeled) -> Peeled:
    """Take off what a piece begins with in the middle of a sentence: a comma, a dash."""
    if peeled.body and isinstance(first := peeled.body[0], str):
        marks = re.match(r"\W*", first)
        assert marks is not None
        peeled.head = [*peeled.head, *([marks[0]] if marks[0] else [])]
        peeled.body[0] = first[marks.end() :]
    return peeled


def _most_agreeing(drafts: Sequence[Draft]) -> Draft:
    agreement = consensus([draft.text for draft in drafts])
    return drafts[max(range(len(drafts)), key=agreement.__getitem__)]


def _lost(parts: Sequence[Part], text: str, others: Sequence[str]) -> str:
    """Return what is protected and does not occur as often as before, and tags that are new."""
    shown = [part.shown for part in parts if isinstance(part, Protected)]
    source = text_of(parts)
    pieces = dict.fromkeys((*shown, *others, *tags_in(text)))
    return " ".join(each for each in pieces if text.count(each) != source.count(each))


def _plain(parts: Sequence[Part]) -> list[Part]:
    return [part if isinstance(part, str) else " " for part in parts]


def _without(parts: Sequence[Part], text: str) -> str:
    for part in parts:
        if isinstance(part, Protected):
            text = text.replace(part.shown, " ", 1)
    return text
