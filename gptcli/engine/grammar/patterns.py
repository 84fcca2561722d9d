"""Patterns: which texts match, put together from sets of characters."""

from __future__ import annotations

from dataclasses import dataclass

from gptcli.engine.grammar.characters import EVERYTHING, Ranges, intersection
from gptcli.errors import UsageError


@dataclass(frozen=True, slots=True)
class One:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Row:
    """One part after the other."""

    parts: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """One of the options; without options, nothing matches."""

    options: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The part `least` to `most` times."""

    part: Pattern
    least: int
    most: int | None


Pattern = One | Row | Either | Repeat
ANYTHING = Repeat(One(EVERYTHING), 0, None)


def literal(text: str) -> Row:
    """Return the pattern of exactly this text. Raises UsageError if a model cannot write it."""
    for character in text:
        if not intersection(EVERYTHING, ((ord(character), ord(character)),)):
            raise UsageError(f"the text contains {character!r}, which a model cannot write")
    return Row(tuple(One(((ord(c), ord(c)),)) for c in text))
