"""Compiles what an output must look like to GBNF, the grammar notation of llama.cpp.

Choices and regular expressions become an automaton with one rule a state: then llama.cpp follows a
few short stacks at a time, and nothing it is given can make it recurse without end.
A JSON schema becomes rules for the JSON texts of some of its values, enough of them to say
everything: properties in the schema's order, no properties that it does not name, and numbers of up to
16 digits. Whatever the rules let through is valid, except for the keywords `unsupported_keywords` names.
"""

from __future__ import annotations

import bisect
import functools
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any, NoReturn
from urllib.parse import unquote

from gptcli.errors import UsageError
from gptcli.sampling import OutputConstraint

MAX_GBNF = 1 << 20  # characters
MAX_STATES = 10_000
MAX_EDGES = 50_000


def to_gbnf(constraint: OutputConstraint) -> str:
    r"""Return the grammar of the outputs that `constraint` allows; its root rule is `root`.

    A regular expression is one of Python's, and the whole output matches it. \d and \s are ASCII's
    digits and spaces, and \D, \S, \w and \W Unicode's: so what comes out matches in Python too.
    Raises UsageError for a constraint that is not valid, not supported or too large.
    """
    match constraint.kind:
        case "choices":
            return _choices_grammar(constraint.choices)
        case "regex":
            return _regex_grammar(constraint.source)
        case "json_schema":
            return _Schema(constraint.source).grammar()
        case "grammar":
            check_gbnf(constraint.source)
            return constraint.source


def check_gbnf(text: str) -> None:
    """Raise UsageError, with the line, if llama.cpp would not take this grammar or would crash on it.

    Left to check is only whether the model has the tokens that the grammar names (<think>).
    """
    rules = _Gbnf(text).rules()
    _check_recursion(rules, text)


def unsupported_keywords(schema: str) -> tuple[str, ...]:
    """Return the keywords of a JSON schema that an output may violate all the same.

    Raises UsageError as `to_gbnf` does.
    """
    compiler = _Schema(schema)
    compiler.grammar()
    return tuple(compiler.unsupported)


def _choices_grammar(choices: Sequence[str]) -> str:
    if not choices:
        raise UsageError("no choices are given")
    if "" in choices:
        raise UsageError("one of the choices is empty")
    rules = _Rules()
    rules.add_automaton("root", _Either(tuple(map(_text, dict.fromkeys(choices)))))
    return rules.text()


def _regex_grammar(pattern: str) -> str:
    tree = _Regex(pattern).whole()
    rules = _Rules()
    rules.add_automaton("root", tree)
    return rules.text()


# ------------------------------------------------------------------------- sets of characters

Ranges = tuple[tuple[int, int], ...]
"""Code points, as ranges in order that do not touch each other."""

# NUL would end llama.cpp's text, and surrogates are no characters.
EVERYTHING: Ranges = ((1, 0xD7FF), (0xE000, 0x10FFFF))


def _ranges(spans: Iterable[tuple[int, int]]) -> Ranges:
    """Return spans of any order as ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def _both(first: Ranges, second: Ranges) -> Ranges:
    spans = []
    for low, high in first:
        at = bisect.bisect_left(second, low, key=lambda span: span[1])
        while at < len(second) and second[at][0] <= high:
            spans.append((max(low, second[at][0]), min(high, second[at][1])))
            at += 1
    return tuple(spans)


def _except(ranges: Ranges) -> Ranges:
    """Return every character that is not in `ranges`."""
    edges = [0, *(edge for low, high in ranges for edge in (low - 1, high + 1)), 0x110000]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return _both(EVERYTHING, tuple((low, high) for low, high in gaps if low <= high))


@functools.cache
def _matching(character_class: str) -> Ranges:
    every = "".join(map(chr, range(0x110000)))
    runs = re.finditer(f"{character_class}+", every)
    return _both(EVERYTHING, tuple((run.start(), run.end() - 1) for run in runs))


@functools.cache
def _cased() -> str:
    """Return the characters that have a case; the others match only themselves."""
    return "".join(c for c in map(chr, range(1, 0x1F000)) if c.lower() != c or c.upper() != c)


def _ignoring_case(ranges: Ranges) -> Ranges:
    """Return what matches the characters when case is ignored, as Python's re sees it."""
    plain = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    matching = re.findall(f"[{plain}]", _cased(), re.IGNORECASE) if ranges else []
    return _ranges([*ranges, *((ord(c), ord(c)) for c in matching)])


# ---------------------------------------------------------------------------------- patterns


@dataclass(frozen=True, slots=True)
class _One:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class _Row:
    """One part after the other."""

    parts: tuple[_Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class _Either:
    """One of the options; without options, nothing matches."""

    options: tuple[_Pattern, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """The part `least` to `most` times."""

    part: _Pattern
    least: int
    most: int | None


_Pattern = _One | _Row | _Either | _Repeat
ANYTHING = _Repeat(_One(EVERYTHING), 0, None)


def _text(text: str) -> _Row:
    for character in text:
        if not _both(EVERYTHING, ((ord(character), ord(character)),)):
            raise UsageError(f"the text contains {character!r}, which a model cannot write")
    return _Row(tuple(_One(((ord(c), ord(c)),)) for c in text))


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


class _Regex:
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

    def whole(self) -> _Pattern:
        """Return the pattern that the whole text matches."""
        return self._read(_EDGE)

    def anywhere(self) -> _Pattern:
        """Return the pattern of the texts in which the expression is found."""
        return self._read(_OPEN)

    def _read(self, edge: int) -> _Pattern:
        try:
            return self._row(self._tree, self._flags, edge, edge)
        except RecursionError as error:
            raise self._too_large() from error

    def _too_large(self) -> UsageError:
        return UsageError(f"{self._where} is too large, or nested too deeply")

    def _refuse(self, what: str) -> NoReturn:
        raise UsageError(f"{self._where} has {what}, which a grammar cannot express")

    def _row(self, tree: Iterable[tuple[Any, Any]], flags: int, start: int, end: int) -> _Pattern:
        items = list(tree)
        while items and items[0][0] is sre.AT and items[0][1] in _BEGINNINGS and start != _INSIDE:
            del items[0]
            start = _EDGE
        while items and items[-1][0] is sre.AT and items[-1][1] in _ENDINGS and end != _INSIDE:
            del items[-1]
            end = _EDGE
        if not items:
            return ANYTHING if _OPEN in (start, end) else _Row()
        last = len(items) - 1
        return _Row(
            tuple(
                self._item(op, value, flags, start if n == 0 else _INSIDE, end if n == last else _INSIDE)
                for n, (op, value) in enumerate(items)
            )
        )

    def _item(self, op: Any, value: Any, flags: int, start: int, end: int) -> _Pattern:
        if op is sre.BRANCH:
            return _Either(tuple(self._row(branch, flags, start, end) for branch in value[1]))
        if op is sre.SUBPATTERN:
            _group, added, removed, tree = value
            return self._row(tree, (flags | added) & ~removed, start, end)
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, tree = value
            part = self._row(tree, flags, _INSIDE, _INSIDE)
            node: _Pattern = _Repeat(part, least, None if most == sre.MAXREPEAT else int(most))
        else:
            node = _One(self._characters(op, value, flags))
        before = (ANYTHING,) if start == _OPEN else ()
        after = (ANYTHING,) if end == _OPEN else ()
        return _Row((*before, node, *after)) if before or after else node

    def _characters(self, op: Any, value: Any, flags: int) -> Ranges:
        if op is sre.ANY:
            return EVERYTHING if flags & re.DOTALL else _except(((10, 10),))
        if op is sre.LITERAL:
            return self._set([(op, value)], flags)
        if op is sre.NOT_LITERAL:
            return self._set([(sre.NEGATE, None), (sre.LITERAL, value)], flags)
        if op is sre.IN:
            return self._set(value, flags)
        if op is sre.AT:
            inner = "a word boundary" if value not in (*_BEGINNINGS, *_ENDINGS) else "an anchor inside"
            self._refuse(inner)
        self._refuse(_REFUSED.get(op, f"a construct ({op})"))

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
        ranges = _ranges(spans)
        if flags & re.IGNORECASE:
            ranges = _ignoring_case(ranges)
        return _except(ranges) if negated else _both(EVERYTHING, ranges)


def _category(name: str, *, ascii_only: bool, wide: bool) -> Ranges:
    r"""Return the characters of \d, \s, \w, \D, \S or \W.

    Few of those that Python means, if in doubt, and with `wide`, all of them: what is left of
    everything else then is what Python means.
    """
    if name.isupper():
        return _except(_category(name.lower(), ascii_only=ascii_only, wide=not wide))
    if ascii_only or (name != "w" and not wide):
        return _ASCII[name]
    return _matching(rf"\{name}")


# --------------------------------------------------------------------------------- automata


@dataclass(slots=True)
class _Part:
    """A piece of an automaton: the states it may begin and end with, and whether it may be empty."""

    empty: bool
    first: list[int]
    last: list[int]


class _Automaton:
    """A pattern as states, one for each place of a character in it (Glushkov's construction).

    Then, if that does not take too many, with states that no character leaves in two ways.
    """

    def __init__(self, pattern: _Pattern) -> None:
        self._sets: list[Ranges] = []  # of each place: the characters there
        self._after: list[set[int]] = []  # and the places that may follow
        whole = self._build(pattern)
        self._last = set(whole.last)
        self._may_be_empty = whole.empty
        # edges[state]: (characters, next state); state 0 is where every text begins
        self.edges: list[list[tuple[Ranges, int]]] = []
        self.final: list[bool] = []
        self._determinize(frozenset(whole.first))
        self._prune()

    def _place(self, ranges: Ranges) -> _Part:
        if not ranges:
            return _Part(empty=False, first=[], last=[])
        if len(self._sets) >= MAX_STATES:
            raise UsageError("the pattern is too large: it repeats too much too often")
        self._sets.append(ranges)
        self._after.append(set())
        return _Part(empty=False, first=[len(self._sets) - 1], last=[len(self._sets) - 1])

    def _build(self, pattern: _Pattern) -> _Part:
        match pattern:
            case _One():
                return self._place(pattern.ranges)
            case _Row():
                whole = _Part(empty=True, first=[], last=[])
                for part in pattern.parts:
                    whole = self._joined(whole, self._build(part))
                return whole
            case _Either():
                parts = [self._build(option) for option in pattern.options]
                return _Part(
                    empty=any(part.empty for part in parts),
                    first=[place for part in parts for place in part.first],
                    last=[place for part in parts for place in part.last],
                )
            case _Repeat():
                return self._repeated(pattern)

    def _joined(self, before: _Part, after: _Part) -> _Part:
        self._link(before.last, after.first)
        return _Part(
            empty=before.empty and after.empty,
            first=before.first + after.first if before.empty else before.first,
            last=after.last + before.last if after.empty else after.last,
        )

    def _link(self, places: list[int], following: list[int]) -> None:
        if len(places) * len(following) > MAX_EDGES:
            raise UsageError("the pattern is too large: too much in it may be left out")
        for place in places:
            self._after[place].update(following)

    def _repeated(self, pattern: _Repeat) -> _Part:
        if pattern.most == 0:
            return _Part(empty=True, first=[], last=[])
        copy = self._build(pattern.part)
        # Copies that are not empty are enough: a copy that may be empty may also be left out.
        least = 0 if copy.empty else pattern.least
        copies = [copy]
        for _ in range(1, pattern.most or max(least, 1)):
            copies.append(self._build(pattern.part))
            self._link(copies[-2].last, copies[-1].first)
        if pattern.most is None:
            self._link(copies[-1].last, copies[-1].first)
        ends = copies[max(least, 1) - 1 :]
        return _Part(least == 0, copy.first, [place for part in ends for place in part.last])

    def _determinize(self, start: frozenset[int]) -> None:
        """Fill `edges` and `final` with sets of places as states: one at a time for llama.cpp."""
        numbers = {start: 0}
        waiting = [start]
        limit = 2 * len(self._sets) + 100
        while waiting:
            places = waiting.pop()
            leaving = []
            for ranges, targets in self._leaving(places, first=places is start and numbers[places] == 0):
                if targets not in numbers:
                    numbers[targets] = len(numbers)
                    waiting.append(targets)
                leaving.append((ranges, numbers[targets]))
            self._put(numbers[places], leaving)
        del limit
