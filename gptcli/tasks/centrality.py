"""What a text is about: terms by how much of it they are in, and the units that cover most of them.

A summary is the set of units that covers most weight, chosen greedily, as Lin and Bilmes do (ACL 2011,
"A Class of Submodular Functions for Document Summarization"): what repeats another one gains nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gptcli.tasks.retrieval import query_terms

MOST_KNOWN = 0.6  # share of a unit's weight that is covered already; above it, it is a near duplicate
SIZE_POWER = 0.75  # of words, that the gain is divided by: long units are not better for being long


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text that is chosen as a whole: its terms, and its size in words."""

    terms: frozenset[str]
    size: int


def terms_of(text: str) -> frozenset[str]:
    """Return the terms of a text, without numbers' and words' places."""
    return frozenset(query_terms(text))


def term_weights(sentences: Sequence[Collection[str]]) -> dict[str, float]:
    """Return the weight of each term: p log²(1/p), where p is the share of the sentences that have it.

    It is low for what is said once, and for what any sentence has, in whatever language.
    """
    counts = Counter(term for sentence in sentences for term in set(sentence))
    shares = {term: count / (len(sentences) + 1) for term, count in counts.items()}
    return {term: share * math.log(share) * math.log(share) for term, share in shares.items()}


def weight_of(unit: Unit, weights: Mapping[str, float]) -> float:
    """Return how central a unit is, for its size."""
    return _sum(unit.terms, weights) / math.pow(max(1, unit.size), SIZE_POWER)


def most_covering(units: Sequence[Unit], weights: Mapping[str, float], room: int) -> list[int]:
    """Return the indexes of units of `room` words together that say most, in their own order.

    At least one: where none fits, the shortest.
    """
    left = [n for n, unit in enumerate(units) if unit.size <= room]
    if not left:
        return [min(range(len(units)), key=lambda n: units[n].size)] if units else []
    chosen: list[int] = []
    covered: set[str] = set()
    while left:
        best = max(left, key=lambda n: weight_of(_new(units[n], covered), weights))
        left.remove(best)
        whole, new = _sum(units[best].terms, weights), _sum(units[best].terms - covered, weights)
        if chosen and new < (1 - MOST_KNOWN) * whole:
            continue
        chosen.append(best)
        covered |= units[best].terms
        room -= units[best].size
        left = [n for n in left if units[n].size <= room]
    return sorted(chosen)


def _new(unit: Unit, covered: set[str]) -> Unit:
    return Unit(unit.terms - covered, unit.size)


def _sum(terms: Collection[str], weights: Mapping[str, float]) -> float:
    return math.fsum(weights.get(term, 0.0) for term in terms)  # in whatever order: the same sum
