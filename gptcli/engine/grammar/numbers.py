"""Patterns of the numbers that a JSON schema allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gptcli.engine.grammar.keywords import NoValueError
from gptcli.engine.grammar.patterns import Either, One, Pattern, Row, literal
from gptcli.errors import UsageError

MAX_DIGITS = 16
FRACTION_DIGITS = 6  # of a number that has bounds
INTEGER = r"(?:0|-?[1-9]\d{0,15})"
NUMBER = r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,16})?(?:[eE][+-]?\d{1,2})?"


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range; a strict one is itself outside."""

    value: Fraction
    strict: bool


def bounds(schema: dict[str, Any]) -> tuple[Bound | None, Bound | None]:
    """Return the lowest and the highest number that the schema allows."""
    lower = _limits(schema, "minimum", "exclusiveMinimum")
    upper = _limits(schema, "maximum", "exclusiveMaximum")
    return (
        max(lower, key=lambda bound: (bound.value, bound.strict), default=None),
        min(upper, key=lambda bound: (bound.value, not bound.strict), default=None),
    )


def _limits(schema: dict[str, Any], inclusive: str, exclusive: str) -> list[Bound]:
    limits = []
    for keyword in (inclusive, exclusive):
        value = schema.get(keyword)
        if value is not None and not isinstance(value, bool):
            # In draft 4, exclusiveMinimum is true or false, and says how minimum is meant.
            strict = keyword == exclusive or schema.get(exclusive) is True
            limits.append(Bound(Fraction(str(value)), strict))
    return limits


def number_pattern(low: Bound | None, high: Bound | None, fraction_digits: int) -> Pattern:
    """Return the pattern of the decimal numbers between the bounds. Raises NoValueError if none is."""
    options = []
    for digits in range(fraction_digits + 1):
        scale = 10**digits
        most = 10**MAX_DIGITS * scale - 1
        first, last = -most, most
        if low is not None:
            scaled = low.value * scale
            first = math.floor(scaled) + 1 if low.strict else math.ceil(scaled)
            last = max(last, 10 * abs(first))
        if high is not None:
            scaled = high.value * scale
            last = math.ceil(scaled) - 1 if high.strict else math.floor(scaled)
            first = first if low is not None else min(first, -10 * abs(last))
        if len(str(max(abs(first), abs(last)))) > 3 * MAX_DIGITS:
            raise UsageError("the JSON schema has a bound that is too large")
        if last >= 0 and first <= last:
            options += [_decimal(row, digits) for row in _digit_rows(max(first, 0), last, digits + 1)]
        if first < 0 and first <= last:
            rows = _digit_rows(max(-last, 1), -first, digits + 1)
            options += [Row((literal("-"), _decimal(row, digits))) for row in rows]
    if not options:
        raise NoValueError
    return Either(tuple(options))


_DigitRow = tuple[tuple[int, int], ...]  # of each digit: from, to


def _digit_rows(low: int, high: int, width: int) -> Iterator[_DigitRow]:
    """Yield rows of digits that together are the numbers from low to high, `width` digits at least."""
    start = low
    for length in range(max(len(str(low)), width), max(len(str(high)), width) + 1):
        end = min(high, 10**length - 1)
        yield from _same_length(str(start).zfill(length), str(end).zfill(length))
        start = end + 1


def _same_length(low: str, high: str) -> Iterator[_DigitRow]:
    if not low:
        yield ()
        return
    first, last = int(low[0]), int(high[0])
    rest = len(low) - 1
    any_rest = ((0, 9),) * rest
    if first == last:
        yield from (((first, first), *row) for row in _same_length(low[1:], high[1:]))
        return
    if low[1:] != "0" * rest:
        yield from (((first, first), *row) for row in _same_length(low[1:], "9" * rest))
        first += 1
    if high[1:] != "9" * rest:
        yield from (((last, last), *row) for row in _same_length("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        yield ((first, last), *any_rest)


def _decimal(row: _DigitRow, fraction_digits: int) -> Row:
    digits: list[Pattern] = [One(((48 + low, 48 + high),)) for low, high in row]
    if fraction_digits:
        digits.insert(len(digits) - fraction_digits, literal("."))
    return Row(tuple(digits))
