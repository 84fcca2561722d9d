"""Which parts of a text carry its label: words left out one at a time, and sentences by themselves."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from gptcli.errors import GptcliError
from gptcli.tasks.heads import AnyClassifier
from gptcli.tasks.labels import Classification
from gptcli.tasks.passages import Span, sentences, words

T = TypeVar("T")
View = Literal["words", "sentences"]

MOST_PARTS = 100  # left out one at a time: of a longer text, several words together


@dataclass(frozen=True, slots=True)
class Weight:
    """What a part of the text adds to its label's log-odds, in nats; below 0 it speaks against it."""

    passage: Span
    weight: float


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence with its own label."""

    passage: Span
    classification: Classification


@dataclass(frozen=True, slots=True)
class Explained:
    """A classification with what was asked for: the weights of words, or the sentences."""

    classification: Classification
    weights: tuple[Weight, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(slots=True)
class _Variant(Generic[T]):
    """A text to classify for an item: the whole one, or one made of it."""

    item: T
    text: str
    passage: Span | None = None
    view: View = "words"
    is_last: bool = False
    problem: GptcliError | None = None


def explain(
    classifier: AnyClassifier,
    items: Iterable[T],
    text_of: Callable[[T], str],
    views: tuple[View, ...],
) -> Generator[tuple[T, Explained | GptcliError], None, None]:
    """Yield each item with its classification, explained, in order. As `Classifier.classify`."""
    results = classifier.classify(_variants(items, text_of, views), _text)
    with contextlib.closing(results):
        group: list[tuple[_Variant[T], Classification]] = []
        problem: GptcliError | None = None
        for variant, result in results:
            if isinstance(result, GptcliError):
                problem = problem or result
            else:
                group.append((variant, result))
            if variant.is_last:
                yield variant.item, problem or _explained(classifier.task.labels, group)
                group, problem = [], None


def _variants(
    items: Iterable[T], text_of: Callable[[T], str], views: tuple[View, ...]
) -> Iterator[_Variant[T]]:
    for item in items:
        try:
            text = text_of(item)
        except GptcliError as error:
            yield _Variant(item, "", is_last=True, problem=error)
            continue
        variants = [_Variant(item, text)]
        if "words" in views:
            variants += [_Variant(item, _without(text, part), part) for part in _parts(text)]
        if "sentences" in views:
            variants += [_Variant(item, each.text, each, "sentences") for each in sentences(text)]
        variants[-1].is_last = True
        yield from variants


def _text(variant: _Variant[T]) -> str:
    if variant.problem is not None:
        raise variant.problem
    return variant.text


def _parts(text: str) -> list[Span]:
    found = words(text)
    size = -(-len(found) // MOST_PARTS)
    if size <= 1:
        return found
    spans = [(part[0].start, part[-1].end) for part in _chunks(found, size)]
    return [Span(start, end, text[start:end]) for start, end in spans]


def _chunks(found: list[Span], size: int) -> Iterator[list[Span]]:
    for at in range(0, len(found), size):
        yield found[at : at + size]


def _without(text: str, part: Span) -> str:
    return f"{text[: part.start]} {text[part.end :]}"


def _explained(labels: tuple[str, ...], group: list[tuple[_Variant[T], Classification]]) -> Explained:
    (_, whole), *others = group
    if whole.label is None:
        return Explained(whole)
    at = labels.index(whole.label)
    evidence = _evidence(whole, at)
    return Explained(
        whole,
        weights=tuple(
            Weight(variant.passage, evidence - _evidence(found, at))
            for variant, found in others
            if variant.view == "words" and variant.passage is not None
        ),
        parts=tuple(
            Part(variant.passage, found)
            for variant, found in others
            if variant.view == "sentences" and variant.passage is not None
        ),
    )


def _evidence(found: Classification, at: int) -> float:
    """Return the log-odds of a label; of a text of which nothing is left, as if all were alike."""
    scores = list(found.scores.values())
    if not scores:
        return 0.0
    score = min(max(scores[at], 1e-9), 1 - 1e-9)
    return math.log(score / (1 - score))
