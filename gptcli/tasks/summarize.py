"""Summaries: a point for each passage, checked against its sentences, and of these the most central.

Small models write fluently what no text says. So a point counts only where a sentence or two of the
passage, made shorter, say it; else the passage's most central sentence stands in its place, as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from gptcli.documents.answers import Citation
from gptcli.documents.passages import Passage, Source
from gptcli.documents.summaries import Point, Summary
from gptcli.engine.api import Completion, Engine, Generate
from gptcli.errors import GptcliError, NoAnswerError
from gptcli.prompts.summary import form_for
from gptcli.sampling import SamplingParams
from gptcli.tasks.centrality import Unit, most_covering, term_weights, terms_of, weight_of
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.passages import Span, flowing_sentences
from gptcli.tasks.passages import words as words_of
from gptcli.tasks.prose import count_words, cut_at_clause
from gptcli.tasks.retrieval import QUESTION_WORDS
from gptcli.tasks.spans import has_form, is_form_of
from gptcli.tasks.splitting import MOST_WORDS, size_of, split
from gptcli.tasks.support import has_negation

POINT_WORDS = 18  # of a point, about: so many passages are wanted that the points fill the length
LEAST_POINTS = 4  # to choose from
LEAST_WORDS = 40  # of a passage
MOST_PASSAGES = 240  # that the model reads; of more, the most central ones
MOST_TOKENS = 72  # of a point
LEAST_SAID = 5  # words of a point; of a heading up to one more
LONG_SENTENCE = 40  # words; no point is longer, and a sentence that must stand as it is is cut
CUT = " …"  # such a point is given only where no other is
MOST_QUOTED = 2  # sentences that a point may be drawn from

OnProgress = Callable[[int, int], object]
_NAME = re.compile(r"\d+(?:[.,]\d+)*|(?<=[^\W_]\s)[^\W\d_][\w'’-]*")
_GOES_ON = frozenset(",;，、；")  # what ends a line of a sentence, not of a heading
_BULLET = re.compile(r"^\s*(?:[-*•>#]+|\d+[.)])\s+")


def summarize(
    engine: Engine, sources: Sequence[Source], *, words: int, on_progress: OnProgress | None = None
) -> Summary:
    """Return a summary of about so many words, rather fewer: at least one point.

    Raises NoAnswerError where no source has a sentence, and the error of the requests if all fail.
    """
    parts = [part for part in map(_Part.of, _passages(sources, words)) if part.sentences]
    if not parts:
        raise NoAnswerError("there is no sentence to summarize")
    weights = term_weights([terms_of(each.text) for part in parts for each in part.sentences])
    read = parts
    if len(parts) > MOST_PASSAGES:
        units = [Unit(part.terms, 1) for part in parts]
        read = [parts[n] for n in most_covering(units, weights, MOST_PASSAGES)]
    points = list(_points(engine, read, weights, on_progress or (lambda _done, _of: None)))
    points = [point for point in points if not point.text.endswith(CUT)] or points
    units = [Unit(terms_of(point.text), count_words(point.text)) for point in points]
    chosen = [points[n] for n in most_covering(units, weights, words)]
    return Summary(
        points=tuple(chosen),
        words=sum(count_words(point.text) for point in chosen),
        passages=len(parts),
        read=len(read),
    )


def _passages(sources: Sequence[Source], words: int) -> Iterator[Passage]:
    """Yield the passages of all sources: short ones of short texts, to have points enough."""
    size = sum(size_of(source.text) for source in sources)
    wanted = max(LEAST_POINTS, words // POINT_WORDS)
    most_words = max(LEAST_WORDS, min(MOST_WORDS, size // wanted))
    for source in sources:
        yield from split(source, most_words=most_words, overlap_words=0)


@dataclass(frozen=True, slots=True)
class _Part:
    """A passage, its sentences with their places in the source, and its terms."""

    passage: Passage
    sentences: tuple[Span, ...]
    terms: frozenset[str]

    @classmethod
    def of(cls, passage: Passage) -> _Part:
        said = [_without_heading(each) for each in flowing_sentences(passage.text)]
        whole = [each for each in said if count_words(each.text) >= LEAST_SAID]
        found = tuple(
            Span(passage.start + each.start, passage.start + each.end, each.text)
            for each in whole or [each for each in said if terms_of(each.text)]
        )
        return cls(passage, found, terms_of(passage.text))

    def quote(self, first: int, end: int) -> Citation:
        source, start, stop = (
            self.passage.source,
            self.sentences[first].start,
            self.sentences[end - 1].end,
        )
        return Citation(source, start, stop, source.text[start:stop])


def _without_heading(sentence: Span) -> Span:
    """Return a sentence without the lines of a heading that it seems to begin with."""
    start, text = sentence.start, sentence.text
    while "\n" in text:
        line, _, rest = text.partition("\n")
        is_short = count_words(line) <= LEAST_SAID + 1 and line.rstrip()[-1:] not in _GOES_ON
        if not line.startswith("#") and (not is_short or rest.lstrip()[:1].islower()):
            break
        start += len(text) - len(rest.lstrip())
        text = rest.lstrip()
    return Span(start, sentence.end, text)


def _points(
    engine: Engine, parts: Sequence[_Part], weights: dict[str, float], on_progress: OnProgress
) -> Iterator[Point]:
    is_chat = engine.model.is_chat
    failures = 0
    for (n, part), result in run_ordered(
        engine, enumerate(parts), lambda item: _request(*item, is_chat=is_chat)
    ):
        if isinstance(result, GptcliError):
            failures += 1
            if failures == len(parts):
                raise result
            point = None
        else:
            point = _checked(cast("Completion", result), part)
        yield point or _most_central(part, weights)
        on_progress(n + 1, len(parts))


def _request(number: int, part: _Part, *, is_chat: bool) -> Generate:
    text = " ".join(each.text for each in part.sentences)
    return Generate(
        prompt=form_for(text).prompt(text, is_chat=is_chat),
        sampling=SamplingParams(temperature=0, max_tokens=MOST_TOKENS),
        stop=("\n",),
        thinking=False,
        id=number,
    )


def _checked(written: Completion, part: _Part) -> Point | None:
    """Return what was written as a point, with the fewest sentences that have it; None if none do."""
    said = flowing_sentences(_BULLET.sub("", written.text))
    text = " ".join(said[0].text.split()) if said else ""
    is_cut = written.finish_reason == "length" and len(said) == 1
    if is_cut or not LEAST_SAID <= count_words(text) <= LONG_SENTENCE or _is_call(text):
        return None
    for count in range(1, MOST_QUOTED + 1):
        for at in range(len(part.sentences) - count + 1):
            quote = part.quote(at, at + count)
            if says(quote.text, text):
                return Point(text, quote)
    return None


def _is_call(text: str) -> bool:
    """Tell whether a sentence asks, calls or announces what follows: that states nothing."""
    return text.rstrip("\"'”’»」』)*_ ")[-1:] in ("!", "?", ":", "！", "？", "：")


def says(quote: str, text: str) -> bool:
    """Tell whether a quote says a text, which may leave words out: its own are in it in the same order.

    Its numbers and names must all be, and a "not" in both or in neither.
    """
    words = _words(text)
    return (
        bool(words)
        and _is_subsequence(words, _words(quote))
        and all(has_form(quote, name.lower()) for name in _names(text))
        and has_negation(quote) == has_negation(text)
    )


def _words(text: str) -> list[str]:
    """Return the words that say something, in order; of scripts without spaces, the characters."""
    found = [word.text.lower() for word in words_of(text) if word.text[0].isalnum()]
    return [word for word in found if word not in QUESTION_WORDS] or found


def _is_subsequence(words: Sequence[str], of: Sequence[str]) -> bool:
    """Tell whether words are, in whatever form, among others in the same order."""
    left = iter(of)
    return all(any(is_form_of(word, each) for each in left) for word in words)


def _names(text: str) -> list[str]:
    return [word for word in _NAME.findall(text) if word[0].isdigit() or word[0].isupper()]


def _most_central(part: _Part, weights: dict[str, float]) -> Point:
    """Return the sentence of a passage that says most of what the whole text is about."""
    units = [Unit(terms_of(each.text), count_words(each.text)) for each in part.sentences]
    short = [n for n, unit in enumerate(units) if unit.size <= LONG_SENTENCE]
    telling = [n for n in short if not _is_call(part.sentences[n].text)]
    best = max(telling or short or range(len(units)), key=lambda n: weight_of(units[n], weights))
    text = _BULLET.sub("", " ".join(part.sentences[best].text.split()))
    cut = cut_at_clause(text, LONG_SENTENCE // 2, LONG_SENTENCE)
    return Point(text if cut == text else cut + CUT, part.quote(best, best + 1))
