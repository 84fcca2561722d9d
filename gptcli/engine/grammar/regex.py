"""Reads Python's regular expressions as patterns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

from gptcli.engine.grammar.characters import (
    EVERYTHING,
    Ranges,
    as_ranges,
    class_members,
    complement,
    ignoring_case,
    intersection,
)
from gptcli.engine.grammar.patterns import ANYTHING, Either, One, Pattern, Repeat, Row
from gptcli.errors import UsageError

_REFUSED = {
    sre.GROUPREF: "a backreference",
    sre.GROUPREF_EXISTS: "a conditional group",
    sre.ASSERT: "a lookahead or lookbehind",
    sre.ASSERT_NOT: "a lookahead or lookbehind",
    sre.FAILURE: "a lookahead or lookbehind",
    sre.ATOMIC_GROUP: "an atomic group",
    sre.POSSESSIVE_REPEAT: "a possessive quantifier",
}
_BEGINNINGS = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)
_ENDINGS = (sre.AT_END, sre.AT_END_STRING)
_ASCII = {"d": ((48, 57),), "s": ((9, 13), (32, 32)), "w": ((48, 57), (65, 90), (95, 95), (97, 122))}
_ASCII_NAMES = {
    sre.CATEGORY_DIGIT: "d",
    sre.CATEGORY_SPACE: "s",
    sre.CATEGORY_WORD: "w",
    sre.CATEGORY_NOT_DIGIT: "D",
    sre.CATEGORY_NOT_SPACE: "S",
    sre.CATEGORY_NOT_WORD: "W",
}
# What is at an edge of a part: something else of the expression, the edge of the text, or any text.
_INSIDE, _EDGE, _OPEN = range(3)


class Regex:
    """Reads a regular expression, with the parser of Python's re. Raises UsageError."""

    def __init__(self, pattern: str, flags: int = 0, where: str = "the regular expression") -> None:
        self._where = where
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "possible nested set": it means what it says
                self._tree = sre_parser.parse(pattern, flags)
        except re.error as error:
            raise UsageError(
                f"{where} is not valid: {error.msg} at position {error.pos}", position=error.pos
            ) from error
        except (OverflowError, RecursionError) as error:
            raise self._too_large() from error
        self._flags: int = self._tree.state.flags

    def whole(self) -> Pattern:
        """Return the pattern that the whole text matches."""
        return self._read(_EDGE)

    def anywhere(self) -> Pattern:
        """Return the pattern of the texts in which the expression is found."""
        return self._read(_OPEN)

    def _read(self, edge: int) -> Pattern:
        try:
            return self._row(self._tree, self._flags, edge, edge)
        except RecursionError as error:
            raise self._too_large() from error

    def _too_large(self) -> UsageError:
        return UsageError(f"{self._where} is too large, or nested too deeply")

    def _refused(self, what: str) -> UsageError:
        return UsageError(f"{self._where} has {what}, which a grammar cannot express")

    def _row(self, tree: Iterable[tuple[Any, Any]], flags: int, start: int, end: int) -> Pattern:
        items = list(tree)
        while items and items[0][0] is sre.AT and items[0][1] in _BEGINNINGS and start != _INSIDE:
            del items[0]
            start = _EDGE
        while items and items[-1][0] is sre.AT and items[-1][1] in _ENDINGS and end != _INSIDE:
            del items[-1]
            end = _EDGE
        if not items:
            return ANYTHING if _OPEN in (start, end) else Row()
        last = len(items) - 1
        return Row(
            tuple(
                self._item(op, value, flags, start if n == 0 else _INSIDE, end if n == last else _INSIDE)
                for n, (op, value) in enumerate(items)
            )
        )

    def _item(self, op: Any, value: Any, flags: int, start: int, end: int) -> Pattern:
        if op is sre.BRANCH:
            return Either(tuple(self._row(branch, flags, start, end) for branch in value[1]))
        if op is sre.SUBPATTERN:
            _group, added, removed, tree = value
            return self._row(tree, (flags | added) & ~removed, start, end)
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, tree = value
            part = self._row(tree, flags, _INSIDE, _INSIDE)
            node: Pattern = Repeat(part, least, None if most == sre.MAXREPEAT else int(most))
        else:
            node = One(self._characters(op, value, flags))
        before = (ANYTHING,) if start == _OPEN else ()
        after = (ANYTHING,) if end == _OPEN else ()
        return Row((*before, node, *after)) if before or after else node

    def _characters(self, op: Any, value: Any, flags: int) -> Ranges:
        if op is sre.ANY:
            return EVERYTHING if flags & re.DOTALL else complement(((10, 10),))
        if op is sre.LITERAL:
            return self._set([(op, value)], flags)
        if op is sre.NOT_LITERAL:
            return self._set([(sre.NEGATE, None), (sre.LITERAL, value)], flags)
        if op is sre.IN:
            return self._set(value, flags)
        if op is sre.AT:
            is_anchor = value in (*_BEGINNINGS, *_ENDINGS)
            raise self._refused("an anchor inside" if is_anchor else "a word boundary")
        raise self._refused(_REFUSED.get(op, f"a construct ({op})"))

    def _set(self, items: Sequence[tuple[Any, Any]], flags: int) -> Ranges:
        negated = items[0][0] is sre.NEGATE
        spans: list[tuple[int, int]] = []
        for op, value in items[negated:]:
            if op is sre.LITERAL:
                spans.append((value, value))
            elif op is sre.RANGE:
                spans.append(value)
            else:
                spans += _category(_ASCII_NAMES[value], ascii_only=bool(flags & re.ASCII), wide=negated)
        ranges = as_ranges(spans)
        if flags & re.IGNORECASE:
            ranges = ignoring_case(ranges)
        return complement(ranges) if negated else intersection(EVERYTHING, ranges)


def _category(name: str, *, ascii_only: bool, wide: bool) -> Ranges:
    r"""Return the characters of \d, \s, \w, \D, \S or \W.

    Few of those that Python means, if in doubt, and with `wide`, all of them: what is left of
    everything else then is what Python means.
    """
    if name.isupper():
        return complement(_category(name.lower(), ascii_only=ascii_only, wide=not wide))
    if ascii_only or (name != "w" and not wide):
        return _ASCII[name]
    return class_members(rf"\{name}")
