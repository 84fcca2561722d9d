"""Retrieval: which passages of a collection a question is about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from gptcli.documents.passages import Passage, Source
from gptcli.tasks.prose import UNSPACED
from gptcli.tasks.splitting import size_of, split

TOP = 5  # passages that are shown to a model
RANK_OFFSET = 60  # k of reciprocal rank fusion, as Cormack, Clarke and Büttcher (SIGIR 2009) set it

# In short texts these are rare enough to outweigh what is asked about.
QUESTION_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "it", "its", "they", "them", "their"),
        *("he", "his", "she", "her", "i", "my", "me", "you", "your", "we", "our", "one", "there"),
        *("what", "which", "who", "whom", "whose", "when", "where", "why", "how", "many", "much"),
        *("is", "are", "was", "were", "be", "been", "do", "does", "did", "has", "have", "had"),
        *("can", "could", "will", "would", "should", "may", "of", "in", "on", "at", "to", "for"),
        *("from", "by", "with", "as", "and", "or", "if", "than", "s", "t"),
    )
)

_TERM = re.compile(rf"([{UNSPACED}]+)|[^\W_{UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage that was found. Higher scores are better; they compare within one search only."""

    passage: Passage
    score: float


class Collection(Protocol):
    """Sources that can be searched."""

    @property
    def size(self) -> int:
        """How long all of it is, as `size_of` counts."""

    def sources(self) -> Iterator[Source]:
        """Yield all sources, in their own order."""

    def search(self, question: str, count: int) -> list[Ranked]:
        """Return the passages that a question is about, the best first."""


def choose(
    collection: Collection, question: str, *, budget_words: int, count: int = TOP
) -> list[Passage]:
    """Return the passages to show for a question: all, in their own order, if they fit, else the best.

    `budget_words` is what fits, as `size_of` counts. Of the best `count`, those are returned that fit,
    the best first; the very best one always. None repeats a part of another.
    """
    if collection.size <= budget_words:
        return [p for source in collection.sources() for p in split(source, overlap_words=0)]
    chosen: list[Passage] = []
    left = budget_words
    for ranked in collection.search(question, count):
        passage = _without_repetition(ranked.passage, chosen)
        size = size_of(passage.text) if passage else 0
        if passage and (size <= left or not chosen):
            chosen.append(passage)
            left -= size
    return chosen


def _without_repetition(passage: Passage, chosen: Sequence[Passage]) -> Passage | None:
    """Return a passage without what it shares with its neighbours; None if nothing is left."""
    start, end = passage.start, passage.end
    for other in chosen:
        if other.source.name != passage.source.name or other.end <= start or end <= other.start:
            continue
        if other.start - start > end - other.end:  # the longer of what is left on both sides
            end = other.start
        else:
            start = other.end
    text = passage.source.text[start:end] if start < end else ""
    if not text.strip():
        return None
    if (start, end) == (passage.start, passage.end):
        return passage
    start += len(text) - len(text.lstrip())
    end = start + len(text.strip())
    line = passage.line + passage.source.text.count("\n", passage.start, start)
    return Passage(passage.source, start, end, line, passage.heading)


Item = TypeVar("Item", bound=Hashable)


def fuse(rankings: Sequence[Sequence[Item]]) -> list[tuple[Item, float]]:
    """Return the items of several rankings in one, by reciprocal rank fusion, with their scores.

    An item gets 1 / (60 + rank) of each ranking that it is in, ranks counted from 1.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (RANK_OFFSET + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


def query_terms(question: str) -> list[str]:
    """Return what to look for, each once: the terms of a question but those that any question has."""
    found = list(dict.fromkeys(terms(question)))
    return [term for term in found if term not in QUESTION_WORDS] or found


def terms(text: str) -> list[str]:
    """Return what a text is found by: its words; of scripts without spaces, characters and pairs."""
    found: list[str] = []
    for match in _TERM.finditer(unicodedata.normalize("NFKC", text).casefold()):
        if match[1]:
            found += match[1]
            found += (first + second for first, second in pairwise(match[1]))
        else:
            found.append(match[0])
    return found


Stems = Callable[[Iterable[str]], Mapping[str, str]]


def matches(question: str, text: str, stems: Stems) -> list[tuple[int, int]]:
    """Return where a text has words of a question, in whatever form, or pairs of its characters.

    `stems` gives what the forms of a word have in common.
    """
    asked = query_terms(question)
    places = list(_places(text))
    stem = stems({*asked, *(term for term, _, _ in places)})
    wanted = {stem.get(term, term) for term in asked}
    found: list[tuple[int, int]] = []
    for term, start, end in places:
        if stem.get(term, term) not in wanted:
            continue
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _places(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield words and pairs of characters, as `terms` has them, and where they are."""
    for match in _TERM.finditer(text):
        if match[1]:
            for at in range(match.start(), match.end() - 1):
                yield text[at : at + 2], at, at + 2
        else:
            yield from ((term, *match.span()) for term in terms(match[0])[:1])
