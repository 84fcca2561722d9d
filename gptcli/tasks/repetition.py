"""Notices, sentence by sentence, when a text goes in circles."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence
from enum import IntEnum

_WORDS = re.compile(
    r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)
_HAN_KANA = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")

NGRAM = 4  # words
NGRAM_CHARACTERS = 8  # of Chinese or Japanese
MOST_KNOWN = 0.5  # share of a sentence's n-grams that were in the text before
LEAST_DISTINCT = 0.6  # share of a sentence's own trigrams that differ
OPENING = 3  # words; so many of the recent sentences may begin alike:
RECENT, ALIKE = 6, 2
SHORT = 3  # words; "Yes, he said." may come again, up to:
SHORT_TIMES = 3


class Strictness(IntEnum):
    """How much repetition is let through: each step lets more."""

    STRICT = 0
    LOOSE = 1  # sentences may resemble each other
    OFF = 2


class RepetitionGuard:
    """Knows the sentences of a text, and tells which next one would repeat it."""

    def __init__(self) -> None:
        self._sentences: Counter[tuple[str, ...]] = Counter()
        self._ngrams: set[tuple[str, ...]] = set()
        self._openings: deque[tuple[str, ...]] = deque(maxlen=RECENT)

    def objects(self, sentence: str, strictness: Strictness = Strictness.STRICT) -> bool:
        """Tell whether the sentence would repeat what is there, or itself."""
        words = _words(sentence)
        if strictness is Strictness.OFF or not words:
            return False
        times = self._sentences[words]
        if times and (len(words) > SHORT or times >= SHORT_TIMES):
            return True
        if _is_circular(words):
            return True
        return strictness is Strictness.STRICT and (
            self._is_known(sentence, words) or self._is_alike(words)
        )

    def add(self, sentence: str) -> None:
        """Take a sentence into the text."""
        words = _words(sentence)
        if words:
            self._sentences[words] += 1
            self._ngrams.update(_ngrams(words, _ngram_length(sentence)))
            self._openings.append(words[:OPENING])

    def _is_known(self, sentence: str, words: tuple[str, ...]) -> bool:
        length = _ngram_length(sentence)
        own = _ngrams(words, length)
        known = sum(ngram in self._ngrams for ngram in own)
        return len(own) > length and known / len(own) > MOST_KNOWN

    def _is_alike(self, words: tuple[str, ...]) -> bool:
        return len(words) > OPENING and self._openings.count(words[:OPENING]) >= ALIKE


def repeated_share(text: str, length: int = NGRAM) -> float:
    """Return the share of a text's word n-grams that were in it before: 0 for none."""
    words = _words(text)
    ngrams = _ngrams(words, length)
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def word_ngrams(text: str) -> set[tuple[str, ...]]:
    """Return a text's n-grams: of words, longer ones of Chinese or Japanese characters."""
    return set(_ngrams(_words(text), _ngram_length(text)))


def _is_circular(words: tuple[str, ...]) -> bool:
    trigrams = _ngrams(words, 3)
    return len(trigrams) > 8 and len(set(trigrams)) / len(trigrams) < LEAST_DISTINCT


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(text.casefold()))


def _ngram_length(text: str) -> int:
    return NGRAM_CHARACTERS if _HAN_KANA.search(text) else NGRAM


def _ngrams(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]
