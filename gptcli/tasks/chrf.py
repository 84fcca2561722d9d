"""chrF: how much two texts agree in their character n-grams, and a choice by it among candidates.

Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation": n-grams of 1 to 6
characters, white space left out, F with beta = 2 (recall counts twice). The figures are those of
sacreBLEU's chrF2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

ORDER = 6  # characters of the longest n-gram
BETA = 2

Ngrams = tuple[Counter[str], ...]  # by length, from 1
Statistics = list[tuple[int, int, int]]  # by length: n-grams of hypothesis and reference, and in both


def corpus_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the agreement of translations with their references, from 0 to 100, over all n-grams."""
    total: Statistics = [(0, 0, 0)] * ORDER
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        found = _compare(_ngrams(hypothesis), _ngrams(reference))
        total = [(a + d, b + e, c + f) for (a, b, c), (d, e, f) in zip(total, found, strict=True)]
    return _score(total)


def consensus(candidates: Sequence[str]) -> list[float]:
    """Return each candidate's mean chrF with the others: the expected utility of minimum-Bayes-risk
    decoding (Kumar and Byrne 2004), from 0 to 100. A candidate that came twice counts twice.
    """
    if len(candidates) < 2:
        return [0.0] * len(candidates)
    ngrams = {text: _ngrams(text) for text in candidates}
    times = Counter(candidates)
    agreement = {}
    for text in times:
        others = ((other, times[other] - (other == text)) for other in times)
        total = sum(n * _score(_compare(ngrams[text], ngrams[other])) for other, n in others if n)
        agreement[text] = total / (len(candidates) - 1)
    return [agreement[text] for text in candidates]


def _ngrams(text: str) -> Ngrams:
    characters = "".join(text.split())
    return tuple(
        Counter(characters[at : at + length] for at in range(len(characters) - length + 1))
        for length in range(1, ORDER + 1)
    )


def _compare(hypothesis: Ngrams, reference: Ngrams) -> Statistics:
    return [
        # As sacreBLEU counts: a text against one too short for such n-grams has none itself.
        (mine.total() if theirs else 0, theirs.total(), (mine & theirs).total())
        for mine, theirs in zip(hypothesis, reference, strict=True)
    ]


def _score(statistics: Iterable[tuple[int, int, int]]) -> float:
    """Return the F of the mean precision and the mean recall over the lengths that occur in both."""
    rates = [(both / mine, both / theirs) for mine, theirs, both in statistics if mine and theirs]
    precision, recall = (sum(rate[side] for rate in rates) / max(1, len(rates)) for side in (0, 1))
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
