"""Spans of a text that could answer a question, and how near each is to the question's words."""

from __future__ import annotations

import bisect
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from gptcli.tasks.passages import Span

# A number, a character of a script without spaces, a word, or a mark.
_UNIT = re.compile(
    r"\d+(?:[.,:/]\d+)*|[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
    r"|[^\W\d_](?:[^\W_]|['’.&-](?=[^\W_]))*|[^\w\s]|_+"
)
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_BRACKETS = {
    ")": "(",
    "]": "[",
    "}": "{",
    "”": "“",
    "’": "‘",
    "」": "「",
    "』": "『",
    "）": "（",
    "》": "《",
}
_OPENING = set(_BRACKETS.values())
_UNITS = set("%‰°℃€£¥")

MOST_WORDS = 8  # of a span, marks between them not counted
MOST_CHARACTERS = 28  # of a span in a script without spaces
SAME_STEM = 0.7  # of the longer word, from its beginning: words that are taken for forms of one
REACH = 8.0  # words, within which a question's word speaks for a span, by exp(-distance / REACH)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span, `text[start:end]`, in the sentence with this index."""

    start: int
    end: int
    sentence: int


def candidates(sentences: Sequence[Span]) -> Iterator[Candidate]:
    """Yield the spans of whole words within each sentence that could be an answer, in order."""
    for index, sentence in enumerate(sentences):
        units = _units(sentence.text)
        for first, unit in enumerate(units):
            if not _can_begin(unit.text):
                continue
            opened: list[str] = []
            count = size = 0
            for later in units[first:]:
                count += later.text[0].isalnum()
                size += bool(_NO_SPACES.match(later.text))
                if (count > MOST_WORDS and not size) or size > MOST_CHARACTERS:
                    break
                if not _balances(opened, later.text):
                    break
                if not opened and _can_end(later.text) and (count > 1 or not size):
                    yield Candidate(sentence.start + unit.start, sentence.start + later.end, index)


def _units(text: str) -> list[Span]:
    return [Span(match.start(), match.end(), match[0]) for match in _UNIT.finditer(text)]


def _can_begin(word: str) -> bool:
    return word[0].isalnum() or word[0] in _OPENING or unicodedata.category(word[0]) == "Sc"


def _can_end(word: str) -> bool:
    return word[-1].isalnum() or word[-1] in _UNITS or word[-1] in _BRACKETS


def _balances(opened: list[str], word: str) -> bool:
    """Follow the brackets of a span; False where one closes that was not opened in it."""
    for character in word if not word[0].isalnum() else "":
        if character in _OPENING:
            opened.append(character)
        elif character in _BRACKETS and (not opened or opened.pop() != _BRACKETS[character]):
            return False
    return True


class Nearness:
    """How near the spans of a text are to the words of a question, and how much they repeat them.

    Words count by how few sentences have them (the idf of BM25), and by exp(-distance / REACH), half
    that from another sentence. In scripts without spaces, pairs of characters are words.
    """

    def __init__(self, question: str, sentences: Sequence[Span]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._sentence_of: list[int] = []
        terms: list[str] = []
        for index, sentence in enumerate(sentences):
            for start, term in _terms(sentence.text):
                self._starts.append(sentence.start + start)
                self._ends.append(sentence.start + start + len(term))
                self._sentence_of.append(index)
                terms.append(term)
        self._places: list[tuple[float, list[int]]] = []
        self._asked: set[int] = set()
        for wanted in dict.fromkeys(term for _, term in _terms(question)):
            places = [n for n, term in enumerate(terms) if is_form_of(wanted, term)]
            if places:
                having = len({self._sentence_of[n] for n in places})
                weight = math.log(1 + (len(sentences) - having + 0.5) / (having + 0.5))
                self._places.append((weight, places))
                self._asked.update(places)

    def of(self, span: Candidate) -> float:
        """Return the weight of the question's words around a span, not in it."""
        first = bisect.bisect_left(self._starts, span.start)
        end = bisect.bisect_left(self._starts, span.end)
        return sum(
            weight * self._nearest(places, first, end, span.sentence) for weight, places in self._places
        )

    def echo(self, span: Candidate) -> float:
        """Return the share of a span's words that the question has, from 0 to 1."""
        first = bisect.bisect_left(self._starts, span.start)
        end = bisect.bisect_left(self._starts, span.end)
        if end > first and self._ends[end - 1] > span.end:  # a pair of characters that goes on
            end -= 1
        return sum(n in self._asked for n in range(first, end)) / max(1, end - first)

    def _nearest(self, places: Sequence[int], first: int, end: int, sentence: int) -> float:
        most = 0.0
        for place in places:
            if first <= place < end:
                continue
            distance = first - place if place < first else place - end + 1
            share = math.exp(-distance / REACH)
            most = max(most, share if self._sentence_of[place] == sentence else share / 2)
        return most


def _terms(text: str) -> Iterator[tuple[int, str]]:
    """Yield the words of a text in lower case, with their places."""
    units = [unit for unit in _units(text) if unit.text[0].isalnum()]
    for unit, following in zip_longest(units, units[1:]):
        if not _NO_SPACES.match(unit.text):
            yield unit.start, unit.text.lower()
        elif following is not None and following.start == unit.end:
            yield unit.start, unit.text + following.text


def has_form(text: str, word: str) -> bool:
    """Tell whether a text has a word, in lower case, in whatever form."""
    return any(is_form_of(word, term) for _, term in _terms(text)) or word in text.lower()


def is_form_of(one: str, other: str) -> bool:
    """Tell whether two words, in lower case, may be forms of one: they begin alike for the most part."""
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < 4 or one[0].isdigit():
        return False
    common = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(shorter))
    return common >= max(4, SAME_STEM * len(longer))
