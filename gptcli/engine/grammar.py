"""Compiles what an output must look like to GBNF, the grammar notation of llama.cpp.

Choices and regular expressions become an automaton with one rule a state: then llama.cpp follows a
few short stacks at a time, and nothing it is given can make it recurse without end.
A JSON schema becomes rules for the JSON texts of some of its values, enough of them to say
everything: properties in the schema's order, no properties that it does not name, and numbers of up to
16 digits. Whatever the rules let through is valid, except for the keywords `unsupported_keywords` names.
"""

from __future__ import annotations

import bisect
import contextlib
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
MAX_LINKS = 100_000
MAX_WORK = 500_000  # spans of characters looked at


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
    _check_recursion(_Gbnf(text).rules())


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
    rules.add_pattern(_Either(tuple(map(_text, choices))), "root")
    return rules.text()


def _regex_grammar(pattern: str) -> str:
    rules = _Rules()
    rules.add_pattern(_Regex(pattern).whole(), "root")
    if rules.text() == 'root ::= ""\n':
        raise UsageError("the regular expression matches only the empty text")
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

    def _refused(self, what: str) -> UsageError:
        return UsageError(f"{self._where} has {what}, which a grammar cannot express")

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
    """A piece of an automaton: the places it may begin and end with, and whether it may be empty."""

    empty: bool
    first: list[int]
    last: list[int]


_Key = tuple[frozenset[int], bool]  # a state: the places that may follow, and whether it may be the end


class _Automaton:
    """A pattern as states with edges: (characters, next state). Texts begin in state 0.

    First a place for each character of the pattern (Glushkov's construction), then states that no
    character leaves in two ways, unless that takes too many.
    """

    def __init__(self, pattern: _Pattern) -> None:
        self._sets: list[Ranges] = []  # of each place: the characters there
        self._after: list[set[int]] = []  # and the places that may follow
        self._links = self._work = 0
        whole = self._build(pattern)
        self._ends = set(whole.last)
        start: _Key = (frozenset(whole.first), whole.empty)
        states = self._states(start, self._disjoint) or self._states(start, self._separate) or []
        alive = _reaching_end(states)
        if 0 not in alive:
            raise UsageError("the pattern matches no text")
        self.final = [final for final, _ in states]
        self.edges = [[edge for edge in edges if edge[1] in alive] for _, edges in states]

    def _place(self, ranges: Ranges) -> _Part:
        if not ranges:
            return _Part(empty=False, first=[], last=[])
        if len(self._sets) >= MAX_STATES:
            raise UsageError("the pattern is too large: it repeats too much")
        self._sets.append(ranges)
        self._after.append(set())
        place = len(self._sets) - 1
        return _Part(empty=False, first=[place], last=[place])

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
        self._links += len(places) * len(following)
        if self._links > MAX_LINKS:
            raise UsageError("the pattern is too large: too much of it may be left out")
        for place in places:
            self._after[place].update(following)

    def _repeated(self, pattern: _Repeat) -> _Part:
        if pattern.most == 0:
            return _Part(empty=True, first=[], last=[])
        copy = self._build(pattern.part)
        # A copy that may be empty may as well be left out, so only copies that are not are counted.
        least = 0 if copy.empty else pattern.least
        copies = [copy]
        for _ in range(1, max(least, 1) if pattern.most is None else pattern.most):
            copies.append(self._build(pattern.part))
            self._link(copies[-2].last, copies[-1].first)
        if pattern.most is None:
            self._link(copies[-1].last, copies[-1].first)
        last = [place for part in copies[max(least, 1) - 1 :] for place in part.last]
        return _Part(empty=least == 0, first=copy.first, last=last)

    def _states(
        self, start: _Key, leaving: Callable[[frozenset[int]], Iterator[tuple[Ranges, _Key]]]
    ) -> list[tuple[bool, list[tuple[Ranges, int]]]] | None:
        """Return (final, edges) of every state that can be reached; None if that is too much work."""
        numbers = {start: 0}
        states: list[tuple[bool, list[tuple[Ranges, int]]]] = []
        for places, final in (waiting := [start]):
            spans: dict[int, list[tuple[int, int]]] = {}
            for ranges, key in leaving(places):
                if key not in numbers:
                    numbers[key] = len(numbers)
                    waiting.append(key)
                spans.setdefault(numbers[key], []).extend(ranges)
            states.append((final, [(_ranges(found), number) for number, found in spans.items()]))
            if self._work > MAX_WORK:
                return None
        return states

    def _key(self, places: Iterable[int]) -> _Key:
        """Return the state after one of the places."""
        following = frozenset().union(*(self._after[place] for place in places))
        return following, not self._ends.isdisjoint(places)

    def _separate(self, places: frozenset[int]) -> Iterator[tuple[Ranges, _Key]]:
        self._work = 0
        for place in sorted(places):
            yield self._sets[place], self._key((place,))

    def _disjoint(self, places: frozenset[int]) -> Iterator[tuple[Ranges, _Key]]:
        if len(places) <= 1:
            yield from self._separate(places)
            return
        borders: dict[int, list[int]] = {}
        for place in places:
            self._work += len(self._sets[place])
            for low, high in self._sets[place]:
                borders.setdefault(low, []).append(place)
                borders.setdefault(high + 1, []).append(place)
        active: set[int] = set()
        spans: dict[frozenset[int], list[tuple[int, int]]] = {}
        points = sorted(borders)
        for point, following in zip(points, [*points[1:], 0], strict=True):
            active.symmetric_difference_update(borders[point])
            if active:
                spans.setdefault(frozenset(active), []).append((point, following - 1))
        for taken, found in spans.items():
            yield tuple(found), self._key(taken)


def _reaching_end(states: Sequence[tuple[bool, Sequence[tuple[Ranges, int]]]]) -> set[int]:
    before: dict[int, list[int]] = {}
    for number, (_, edges) in enumerate(states):
        for _, target in edges:
            before.setdefault(target, []).append(number)
    waiting = [number for number, (final, _) in enumerate(states) if final]
    alive = set(waiting)
    while waiting:
        for number in before.get(waiting.pop(), ()):
            if number not in alive:
                alive.add(number)
                waiting.append(number)
    return alive


# ------------------------------------------------------------------------------------ rules

Encoder = Callable[[Ranges], str]


class _Rules:
    """The rules of a grammar as they are made."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._sets: dict[str, str] = {}
        self._length = 0
        self._count = 0

    def text(self) -> str:
        return "".join(f"{name} ::= {body}\n" for name, body in self._rules.items())

    def new_name(self) -> str:
        self._count += 1
        return f"r{self._count}"

    def add(self, body: str, name: str | None = None) -> str:
        """Add a rule and return its name."""
        name = name or self.new_name()
        self._length += len(name) + len(body) + 6
        if self._length > MAX_GBNF:
            raise UsageError(f"the grammar would be longer than {MAX_GBNF} characters")
        self._rules[name] = body
        return name

    def shared(self, body: str) -> str:
        """Return `body` if it is short, else the name of one rule for all its uses."""
        if len(body) <= 40:
            return body
        if body not in self._sets:
            self._sets[body] = self.add(body)
        return self._sets[body]

    def add_pattern(
        self, pattern: _Pattern, name: str | None = None, encode: Encoder | None = None
    ) -> str:
        """Add rules for the texts that match, and return the name of the first one."""
        automaton = _Automaton(pattern)
        edges, final = automaton.edges, automaton.final
        arrivals = [0] * len(edges)
        for _, target in (edge for leaving in edges for edge in leaving):
            arrivals[target] += 1
        names = {0: name or self.new_name()}
        encode = encode or self.characters

        def path(ranges: Ranges, target: int) -> str:
            """Return the way to the next state that needs a rule of its own."""
            steps = [encode(ranges)]
            while arrivals[target] == 1 and not final[target] and len(edges[target]) == 1 and target:
                ranges, target = edges[target][0]
                steps.append(encode(ranges))
            if edges[target]:
                steps.append(names.setdefault(target, self.new_name()))
            return _joined_literals(steps)

        done: set[int] = set()
        while waiting := [state for state in names if state not in done]:
            for state in waiting:
                done.add(state)
                ways = [path(*edge) for edge in edges[state]] + ['""'] * final[state]
                self.add(" | ".join(ways), names[state])
        return names[0]

    def characters(self, ranges: Ranges) -> str:
        """Return the term for one of the characters."""
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            return quoted(chr(ranges[0][0]))
        spans = (_in_set(low) + (f"-{_in_set(high)}" if high > low else "") for low, high in ranges)
        return self.shared(f"[{''.join(spans)}]")

    def json_characters(self, ranges: Ranges) -> str:
        """Return the term for one of the characters as it is written inside a JSON string."""
        plain = _both(ranges, JSON_PLAIN)
        escaped = _both(ranges, _except(JSON_PLAIN))
        ways = [self.characters(plain)] if plain else []
        ways += [quoted(json.dumps(chr(c))[1:-1]) for low, high in escaped for c in range(low, high + 1)]
        return ways[0] if len(ways) == 1 else self.shared(f"({' | '.join(ways)})")


JSON_PLAIN = _except(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))


def _joined_literals(terms: Iterable[str]) -> str:
    joined: list[str] = []
    for term in terms:
        if joined and term.startswith('"') and joined[-1].startswith('"'):
            joined[-1] = joined[-1][:-1] + term[1:]
        else:
            joined.append(term)
    return " ".join(joined)


def quoted(text: str) -> str:
    """Return the text as a literal of GBNF."""
    return '"' + "".join(_in_literal(ord(character)) for character in text) + '"'


def _in_literal(code: int) -> str:
    character = chr(code)
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else _escape(code)


def _in_set(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else _escape(code)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


# ------------------------------------------------------------------------------ JSON schemas

MAX_STEPS = 20_000  # sub-schemas looked at
MAX_PAIRS = 1000  # alternatives of oneOf compared with each other
COUNT_BLOCK = 1000  # llama.cpp counts to 2000 in one repetition
MAX_COUNT = 100_000
MAX_DIGITS = 16
FRACTION_DIGITS = 6  # of a number that has bounds
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

# What says which type a schema without `type` is about.
KEYWORDS_OF_TYPE = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "type", "enum", "const")
# Keywords that the compiler cannot follow, with the values that ask for nothing.
NOT_FOLLOWED: dict[str, tuple[Any, ...]] = {
    "not": (False,),
    "contains": (True,),
    "uniqueItems": (False,),
    "patternProperties": ({},),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
    "$dynamicRef": (),
    "$recursiveRef": (),
}
SHAPES: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("properties", "patternProperties"), ("an object", (dict,))),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "enum", "prefixItems"), ("a list", (list,))),
    **dict.fromkeys(("$ref", "pattern", "format"), ("text", (str,))),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), ("a number", (int, float))),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), ("a number", (int, float, bool))),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), ("a count", (int,))),
    **dict.fromkeys(("minProperties", "maxProperties"), ("a count", (int,))),
    "required": ("a list", (list, bool)),
    "type": ("a type", (str, list)),
}
WITH_OTHER_NAMES = ("patternProperties", "propertyNames")
MEANINGFUL = frozenset(
    (*COMBINING, *NOT_FOLLOWED, "if", "then", "else", "additionalItems", "unevaluatedItems")
).union(*KEYWORDS_OF_TYPE.values())

_31_DAYS, _30_DAYS = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])", r"(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
_DAY = rf"{_31_DAYS}|{_30_DAYS}|02-(?:0[1-9]|1\d|2[0-8])"
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DATE = rf"(?:\d{{4}}-(?:{_DAY})|{_LEAP})"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "hostname": rf"{_LABEL}(?:\.{_LABEL}){{0,3}}",
    "email": rf"[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+)*@{_LABEL}(?:\.{_LABEL}){{1,3}}",
}

# One space, or a line break with indentation, wherever JSON allows white space: enough for models to
# write as they are used to, and not enough to go on for ever.
SPACE = '(" " | "\\n" [ \\t]{0,20})?'
CHARACTER = (
    r'[ !#-\[\]-\x7E\u00A0-\uD7FF\uE000-\U0010FFFF] | "\\" '
    r'(["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))'
)
INTEGER = r"(?:0|-?[1-9]\d{0,15})"
NUMBER = r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,16})?(?:[eE][+-]?\d{1,2})?"


class _NoValueError(Exception):
    """No value satisfies the schema here."""


class _Schema:
    """Compiles one JSON schema (drafts 4 to 2020-12). Raises UsageError."""

    def __init__(self, source: str) -> None:
        try:
            self._root = json.loads(source, parse_constant=_finite, parse_float=_number)
        except RecursionError as error:
            raise UsageError("the JSON schema is nested too deeply") from error
        except ValueError as error:
            raise UsageError(f"the JSON schema is not JSON: {error}") from error
        self.unsupported: dict[str, None] = {}
        self._rules = _Rules()
        self._named: dict[str, str] = {}  # rules of $ref targets and of the parts of JSON
        self._steps = 0

    def grammar(self) -> str:
        try:
            value = self._value(self._root, "#")
        except RecursionError as error:
            raise UsageError(
                "the JSON schema is nested too deeply, or refers to itself without end"
            ) from error
        except _NoValueError as error:
            raise UsageError("no value satisfies the JSON schema") from error
        self._rules.add(value, "root")
        text = self._rules.text()
        rules = _Gbnf(text).rules()
        if _left_recursion(rules)[0] is not None:
            raise UsageError("the JSON schema refers to itself without end")
        if "root" not in _matching_rules(rules, with_characters=True):
            raise UsageError("no value of finite size satisfies the JSON schema")
        return text

    # -------------------------------------------------------------------------- any schema

    def _value(self, schema: Any, path: str) -> str:
        """Return a term for the values that satisfy the schema: a name or a literal."""
        self._step()
        if schema is True or (isinstance(schema, dict) and MEANINGFUL.isdisjoint(schema)):
            return self._any()
        if schema is False:
            raise _NoValueError
        _check_shape(schema, path)
        if "if" in schema and ("then" in schema or "else" in schema):
            self.unsupported["if"] = None
        for keyword in NOT_FOLLOWED:
            if keyword in schema and keyword not in WITH_OTHER_NAMES:
                self._ignore(keyword, schema)
        if "$ref" in schema:
            return self._reference(schema, path)
        if "allOf" in schema:
            rest = _without(schema, "allOf")
            for n, part in enumerate(schema["allOf"]):
                rest = self._merged(rest, part, f"{path}/allOf/{n}")
            return self._value(rest, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, path)
        if "const" in schema:
            return self._literals([schema["const"]], schema)
        if "enum" in schema:
            return self._literals(schema["enum"], schema)
        return self._union(functools.partial(self._typed, schema, kind, path) for kind in _types(schema))

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise UsageError("the JSON schema is too large, or refers to itself without end")

    def _ignore(self, keyword: str, schema: dict[str, Any]) -> None:
        value = schema[keyword]
        if not any(value is harmless or value == harmless for harmless in NOT_FOLLOWED.get(keyword, ())):
            self.unsupported[keyword] = None

    def _union(self, options: Iterable[Callable[[], str]]) -> str:
        """Return a term for the values of all options that have any."""
        terms: dict[str, None] = {}
        for option in options:
            try:
                terms[option()] = None
            except _NoValueError:
                continue
        if not terms:
            raise _NoValueError
        return next(iter(terms)) if len(terms) == 1 else self._rules.add(" | ".join(terms))

    def _alternatives(self, schema: dict[str, Any], keyword: str, path: str) -> str:
        parts, rest = schema[keyword], _without(schema, keyword)
        pairs = [(a, b) for n, a in enumerate(parts) for b in parts[:n]] if keyword == "oneOf" else []
        if len(pairs) > MAX_PAIRS or any(self._overlap(*pair) for pair in pairs):
            self.unsupported["oneOf"] = None

        def option(n: int) -> str:
            where = f"{path}/{keyword}/{n}"
            has_more = not MEANINGFUL.isdisjoint(rest)
            return self._value(self._merged(rest, parts[n], where) if has_more else parts[n], where)

        return self._union(functools.partial(option, n) for n in range(len(parts)))

    def _overlap(self, first: Any, second: Any, depth: int = 0) -> bool:
        """Tell whether a value may satisfy both, as far as a look at the surface shows."""
        first, second = self._target(first), self._target(second)
        if depth > 2 or not (isinstance(first, dict) and isinstance(second, dict)):
            return first is not False and second is not False
        for schema in (first, second):
            _check_shape(schema, "oneOf")
        constants = [_constants(first), _constants(second)]
        if constants[0] is not None and constants[1] is not None:
            return not constants[0].isdisjoint(constants[1])
        kinds = [{kind.replace("integer", "number") for kind in _types(s)} for s in (first, second)]
        if kinds[0].isdisjoint(kinds[1]):
            return False
        ours, theirs = first.get("properties", {}), second.get("properties", {})
        return all(
            self._overlap(ours.get(name, True), theirs.get(name, True), depth + 1)
            for name in _required(first)
            if name in _required(second)
        )

    def _target(self, schema: Any) -> Any:
        if not (isinstance(schema, dict) and isinstance(schema.get("$ref"), str)):
            return schema
        return (
            self._resolve(schema["$ref"]) if MEANINGFUL.isdisjoint(_without(schema, "$ref")) else schema
        )

    # -------------------------------------------------------------------------- references

    def _reference(self, schema: dict[str, Any], path: str) -> str:
        target = self._resolve(schema["$ref"])
        siblings = _without(schema, "$ref")
        if not MEANINGFUL.isdisjoint(siblings):
            return self._value(self._merged(siblings, target, path), path)
        reference = schema["$ref"]
        if reference not in self._named:
            name = self._named[reference] = self._rules.new_name()
            self._rules.add(self._value(target, reference), name)
        return self._named[reference]

    def _resolve(self, reference: str) -> Any:
        """Return the sub-schema that a $ref names; nothing is ever fetched."""
        base = self._root.get("$id", "") if isinstance(self._root, dict) else ""
        document, _, fragment = reference.partition("#")
        if document and document != str(base).rstrip("#"):
            raise UsageError(f'"$ref": "{reference}" is in another document, and none is fetched')
        found = self._root
        if fragment and not fragment.startswith("/"):
            found = _anchored(found, fragment)
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                found = None
        if found is None:
            raise UsageError(f'"$ref": "{reference}" names nothing in the JSON schema')
        return found

    def _merged(self, first: Any, second: Any, path: str) -> Any:
        """Return a schema for the values that satisfy both."""
        self._step()
        if first is True or first == {}:
            return second
        if second is True or second == {}:
            return first
        if first is False or second is False:
            return False
        for schema in (first, second):
            _check_shape(schema, path)
        for schema, other in ((first, second), (second, first)):
            if "$ref" in schema:
                target = self._resolve(schema["$ref"])
                rest = self._merged(_without(schema, "$ref"), target, path)
                return self._merged(rest, other, path)
        merged = dict(first)
        for keyword, value in second.items():
            if keyword not in merged or keyword not in MEANINGFUL or merged[keyword] == value:
                merged[keyword] = value
            else:
                merged[keyword] = self._both(keyword, merged[keyword], value, path)
        for side, other in ((first, second), (second, first)):
            if "additionalProperties" in side:
                ours, theirs = side.get("properties", {}), other.get("properties", {})
                for name in theirs.keys() - ours.keys():
                    joint = self._merged(merged["properties"][name], side["additionalProperties"], path)
                    merged["properties"] = {**merged["properties"], name: joint}
        return merged

    def _both(self, keyword: str, first: Any, second: Any, path: str) -> Any:
        """Return the value of a keyword that asks for what two of its values ask for."""
        if keyword in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
            return max(first, second)
        if keyword in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"):
            return min(first, second)
        if keyword == "properties":
            names = {**first, **second}
            return {
                name: self._merged(first.get(name, True), second.get(name, True), f"{path}/{name}")
                for name in names
            }
        if keyword == "required":
            return [*_listed(first), *_listed(second)]
        if keyword == "allOf":
            return [*first, *second]
        if keyword in ("items", "additionalProperties") and not isinstance(first, list):
            return self._merged(first, second, f"{path}/{keyword}")
        if keyword == "type":
            kinds = [
                {*_listed(value), *(["integer"] if "number" in value else [])}
                for value in (first, second)
            ]
            both = kinds[0] & kinds[1]
            return sorted(both - {"integer"} if "number" in both else both)
        if keyword == "enum":
            texts = {json.dumps(value, sort_keys=True) for value in second}
            return [value for value in first if json.dumps(value, sort_keys=True) in texts]
        if keyword in ("anyOf", "oneOf"):
            return [self._merged(a, b, f"{path}/{keyword}") for a in first for b in second]
        raise UsageError(
            f'the JSON schema combines two values of "{keyword}" at {path}, which is not supported'
        )

    # --------------------------------------------------------------------------- one type

    def _typed(self, schema: dict[str, Any], kind: str, path: str) -> str:
        match kind:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return self._string(schema, path)
            case "number" | "integer":
                return self._number(schema, kind)
            case "boolean":
                return self._part("boolean", lambda: '"true" | "false"')
            case _:
                return '"null"'

    def _part(self, name: str, body: Callable[[], str]) -> str:
        """Return the name of a rule that all of the grammar shares."""
        if name not in self._named:
            self._named[name] = self._rules.new_name()
            self._rules.add(body(), self._named[name])
        return self._named[name]

    def _any(self) -> str:
        return self._part("value", self._any_body)

    def _any_body(self) -> str:
        kinds = ("object", "array", "string", "number", "boolean")
        return " | ".join([*(self._typed({}, kind, "#") for kind in kinds), '"null"'])

    def _space(self) -> str:
        return self._part("space", lambda: SPACE)

    def _literals(self, values: Sequence[Any], schema: dict[str, Any]) -> str:
        """Return a term for the JSON texts of the values that are of the schema's type."""
        kinds = _types(schema) if "type" in schema else TYPES
        fitting = [value for value in values if any(_is_of(value, kind) for kind in kinds)]
        for keyword in schema:
            if keyword in MEANINGFUL - {"type", "enum", "const"} - NOT_FOLLOWED.keys():
                self.unsupported[f"{keyword} beside enum or const"] = None
        if not fitting:
            raise _NoValueError
        return self._pattern(_Either(tuple(_text(_dumped(value)) for value in fitting)))

    def _pattern(self, pattern: _Pattern, encode: Encoder | None = None) -> str:
        return self._rules.add_pattern(pattern, encode=encode)

    def _string(self, schema: dict[str, Any], path: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        if form is not None and (pattern is not None or form not in FORMATS):
            self.unsupported[f"format: {form}"] = None
        if pattern is not None:
            where = f"the pattern at {path}"
            # (?<name>…) is how JavaScript writes Python's (?P<name>…).
            pythonic = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
            tree = _Regex(pythonic, re.ASCII, where).anywhere()
        elif form in FORMATS:
            tree = _Regex(FORMATS[form]).whole()
        else:
            character = self._part("character", lambda: CHARACTER)
            return self._rules.add(f'"\\"" {self._counted(character, least, most, path)} "\\""')
        for keyword in ("minLength", "maxLength"):
            if schema.get(keyword):
                self.unsupported[f"{keyword} beside pattern or format"] = None
        name = self._pattern(tree, self._rules.json_characters)
        return self._rules.add(f'"\\"" {name} "\\""')

    def _number(self, schema: dict[str, Any], kind: str) -> str:
        step = schema.get("multipleOf")
        if step is not None and not (kind == "integer" and step == 1):
            self.unsupported["multipleOf"] = None
        low, high = _bounds(schema)
        if low is None and high is None:
            pattern = INTEGER if kind == "integer" else NUMBER
            return self._part(kind, lambda: self._pattern(_Regex(pattern).whole()))
        return self._pattern(_number_pattern(low, high, 0 if kind == "integer" else FRACTION_DIGITS))

    def _counted(self, item: str, least: int, most: int | None, path: str) -> str:
        """Return a term for `least` to `most` items one after the other."""
        if most is not None and least > most:
            raise _NoValueError
        if max(least, most or 0) > MAX_COUNT:
            raise UsageError(f"the JSON schema at {path} counts to more than {MAX_COUNT}")
        blocks, rest = divmod(least, COUNT_BLOCK)
        terms = []
        if blocks:
            block = self._rules.add(f"{item}{{{COUNT_BLOCK}}}")
            terms.append(f"{block}{{{blocks}}}")
        if rest:
            terms.append(f"{item}{{{rest}}}")
        if most is None:
            terms.append(f"{item}*")
        elif most > least:
            terms.append(self._up_to(item, most - least))
        return " ".join(terms) or '""'

    def _up_to(self, item: str, most: int) -> str:
        blocks, rest = divmod(most, COUNT_BLOCK)
        term = f"{item}{{0,{rest}}}" if rest else '""'
        if blocks:
            block = self._rules.add(f"{item}{{{COUNT_BLOCK}}}")
            less = self._rules.add(f"{item}{{0,{COUNT_BLOCK - 1}}}")
            for _ in range(blocks):
                term = self._rules.add(f"{block} {term} | {less}")
        return term

    # ------------------------------------------------------------------------ array, object

    def _array(self, schema: dict[str, Any], path: str) -> str:
        prefix, rest = schema.get("prefixItems", []), schema.get("items")
        if isinstance(rest, list):  # before draft 2020-12
            prefix, rest = rest, schema.get("additionalItems")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if rest is None:
            rest = least > len(prefix) or not prefix
        first = [self._value(item, f"{path}/items/{n}") for n, item in enumerate(prefix[:most])]
        item = None
        if most is None or most > len(first):
            with contextlib.suppress(_NoValueError):
                item = self._value(rest, f"{path}/items")
        return self._enclosed("[]", first, item, least, most, path)

    def _enclosed(
        self,
        brackets: str,
        first: Sequence[str],
        item: str | None,
        least: int,
        most: int | None,
        path: str,
    ) -> str:
        """Return a term for a list: `first`, and then other items, as many as the limits allow."""
        space = self._space()
        begin, end = (f'"{bracket}"' for bracket in brackets)
        comma = f'"," {space}'
        if item is None:
            if least > len(first):
                raise _NoValueError
            inside = f" {comma} ".join(first)
        else:
            known = first or [item]
            more = self._rules.add(f"{comma} {item}")
            room = None if most is None else most - len(known)
            counted = self._counted(more, max(least - len(known), 0), room, path)
            inside = f" {comma} ".join(known) + f" {counted}"
        if not inside:
            return self._rules.add(f"{begin} {space} {end}")
        if not first and least == 0:
            return self._rules.add(f"{begin} {space} ({inside} {space})? {end}")
        return self._rules.add(f"{begin} {space} {inside} {space} {end}")

    def _object(self, schema: dict[str, Any], path: str) -> str:
        properties, required = schema.get("properties", {}), _required(schema)
        others = schema.get("additionalProperties", not properties and not required)
        unnamed = schema.get("additionalProperties", True)
        properties = {**properties, **{name: unnamed for name in required if name not in properties}}
        members = self._members(properties, required, path)
        extra = self._extra(others, tuple(properties), path)
        if extra is not None:
            for keyword in WITH_OTHER_NAMES:
                if keyword in schema:
                    self._ignore(keyword, schema)
        least, most = schema.get("minProperties", 0), schema.get("maxProperties")
        if not members and extra is not None and (least or most is not None):
            return self._enclosed("{}", [], None if most == 0 else extra, least, most, path)
        if least > sum(needed for _, needed in members):
            self.unsupported["minProperties"] = None
        if most is not None and (extra is not None or most < len(members)):
            self.unsupported["maxProperties"] = None
        return self._ordered_object(members, extra)

    def _members(
        self, properties: dict[str, Any], required: Sequence[str], path: str
    ) -> list[tuple[str, bool]]:
        """Return (term, whether it must be there) of each property that may be there."""
        members = []
        for name, schema in properties.items():
            try:
                value = self._value(schema, f"{path}/properties/{name}")
            except _NoValueError:
                if name in required:
                    raise
                continue
            term = self._rules.add(f"{quoted(_dumped(name) + ':')} {self._space()} {value}")
            members.append((term, name in required))
        return members

    def _extra(self, schema: Any, names: Sequence[str], path: str) -> str | None:
        """Return a term for a property of another name, or None if there may be none."""
        try:
            value = self._value(schema, f"{path}/additionalProperties")
        except _NoValueError:
            return None
        key = self._other_key(names) if names else self._typed({}, "string", path)
        return self._rules.add(f'{key} ":" {self._space()} {value}')

    def _other_key(self, names: Sequence[str]) -> str:
        """Return a term for the keys that are none of `names`; they are written without escapes."""
        plain = [name for name in names if all(_both(JSON_PLAIN, ((ord(c), ord(c)),)) for c in name)]

        def after(prefix: str) -> str:
            following = sorted(
                {name[len(prefix)] for name in plain if name.startswith(prefix) and name != prefix}
            )
            others = _both(JSON_PLAIN, _except(_ranges((ord(c), ord(c)) for c in following)))
            ways = [f"{quoted(c)} {after(prefix + c)}" for c in following]
            ways.append(f'{self._rules.characters(others)} {anything} "\\""')
            return self._rules.add(" | ".join(ways if prefix in plain else [*ways, '"\\""']))

        anything = self._rules.add(f"{self._rules.characters(JSON_PLAIN)}*")
        return self._rules.add(f'"\\"" {after("")}')

    def _ordered_object(self, members: Sequence[tuple[str, bool]], extra: str | None) -> str:
        """Return a term for the members in this order, optional ones or not, and then extra ones."""
        space = self._space()
        following: str | None = None  # a member, and what comes after it
        after = '""'  # what comes after a member
        if extra is not None:
            after = f'("," {space} {extra})*'
            following = self._rules.add(f"{extra} {after}")
        is_optional = True  # nothing of what follows is needed
        for term, needed in reversed(members):
            first = f"{term} {after}"
            following = self._rules.add(
                first if needed or following is None else f"{first} | {following}"
            )
            is_optional = is_optional and not needed
            after = self._rules.add(
                f'("," {space} {following})?' if is_optional else f'"," {space} {following}'
            )
        if following is None:
            return self._rules.add(f'"{{" {space} "}}"')
        if is_optional:
            return self._rules.add(f'"{{" {space} ({following} {space})? "}}"')
        return self._rules.add(f'"{{" {space} {following} {space} "}}"')


def _number(text: str) -> int | float:
    """Return a number of the schema; 1.0 is 1 in JSON."""
    number = _finite(text)
    return int(number) if number.is_integer() else number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _dumped(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if re.search("[\ud800-\udfff]", text) else text


def _without(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _required(schema: dict[str, Any]) -> list[str]:
    names = schema.get("required")  # true or false in draft 3
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _types(schema: dict[str, Any]) -> Sequence[str]:
    if "type" in schema:
        return _listed(schema["type"])
    about = [
        kind for kind, keywords in KEYWORDS_OF_TYPE.items() if not schema.keys().isdisjoint(keywords)
    ]
    return about or [kind for kind in TYPES if kind != "integer"]


def _constants(schema: dict[str, Any]) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {json.dumps(value, sort_keys=True) for value in values} if isinstance(values, list) else None


def _is_of(value: Any, kind: str) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "null":
            return value is None
    return isinstance(value, {"object": dict, "array": list, "string": str}[kind])


def _anchored(schema: Any, name: str) -> Any:
    """Return the sub-schema whose $anchor is `name`."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if name in (found.get("$anchor"), found.get("$dynamicAnchor")):
                return found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return None


def _check_shape(schema: Any, path: str) -> None:
    """Raise UsageError if the schema is none, or has a keyword with a value of the wrong type."""
    if not isinstance(schema, dict):
        raise UsageError(f"the JSON schema at {path} is neither an object nor true or false")
    for keyword, value in schema.items():
        what, kinds = SHAPES.get(keyword, ("", (object,)))
        fits = type(value) in kinds or object in kinds
        if what == "a count":
            fits = fits and value >= 0
        elif what == "a type":
            fits = fits and all(name in TYPES for name in _listed(value))
        if not fits:
            shown = json.dumps(value)[:40]
            raise UsageError(f'the JSON schema has "{keyword}" at {path} that is not {what}: {shown}')


def _bounds(schema: dict[str, Any]) -> tuple[_Bound | None, _Bound | None]:
    """Return the lowest and the highest number that the schema allows."""
    lower = _limits(schema, "minimum", "exclusiveMinimum")
    upper = _limits(schema, "maximum", "exclusiveMaximum")
    return (
        max(lower, key=lambda bound: (bound.value, bound.strict), default=None),
        min(upper, key=lambda bound: (bound.value, not bound.strict), default=None),
    )


def _limits(schema: dict[str, Any], inclusive: str, exclusive: str) -> list[_Bound]:
    limits = []
    for keyword in (inclusive, exclusive):
        value = schema.get(keyword)
        if value is not None and not isinstance(value, bool):
            # In draft 4, exclusiveMinimum is true or false, and says how minimum is meant.
            strict = keyword == exclusive or schema.get(exclusive) is True
            limits.append(_Bound(Fraction(str(value)), strict))
    return limits


@dataclass(frozen=True, slots=True)
class _Bound:
    value: Fraction
    strict: bool


def _number_pattern(low: _Bound | None, high: _Bound | None, fraction_digits: int) -> _Pattern:
    """Return the pattern of the decimal numbers between the bounds. Raises _NoValueError if none is."""
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
            options += [_Row((_text("-"), _decimal(row, digits))) for row in rows]
    if not options:
        raise _NoValueError
    return _Either(tuple(options))


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


def _decimal(row: _DigitRow, fraction_digits: int) -> _Row:
    digits: list[_Pattern] = [_One(((48 + low, 48 + high),)) for low, high in row]
    if fraction_digits:
        digits.insert(len(digits) - fraction_digits, _text("."))
    return _Row(tuple(digits))


# ------------------------------------------------------------------------------------ GBNF

MAX_REPETITION = 2000  # llama.cpp's MAX_REPETITION_THRESHOLD
MAX_NESTING = 100
MAX_ELEMENTS = 2_000_000
MAX_LEFT_DEPTH = 5000  # llama.cpp's search for left recursion is itself recursive

NAME = re.compile("[A-Za-z0-9-]+")
CHARACTER_IN_GBNF = re.compile(
    r'\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\"\[\]-])|[^\\]', re.DOTALL
)
TOKEN = re.compile(r"!?<(?:\[(\d{1,10})\]|[^>]*)>")
SPACES = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
SPACES_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
QUANTIFIER = re.compile(r"[*+?]|\{")

_Element = str | None  # the name of a rule, or None: something that takes a character or token


@dataclass(slots=True)
class _Rule:
    line: int
    alternatives: list[list[_Element]]
    chain: int = 1  # rules that llama.cpp makes of this one, each beginning with the next


class _Gbnf:
    """Reads a grammar as llama.cpp does (src/llama-grammar.cpp), to say what is wrong, and where."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rules: dict[str, _Rule] = {}
        self._references: dict[str, int] = {}  # name: where it is used first
        self._symbols: set[str] = set()  # names that llama.cpp has numbered
        self._elements = 0

    def rules(self) -> dict[str, _Rule]:
        if len(self._text) > MAX_GBNF:
            raise UsageError(f"the grammar is longer than {MAX_GBNF} characters")
        if (found := re.search("[\0\ud800-\udfff]", self._text)) is not None:
            self._fail(f"a character that is no text: {found[0]!r}", found.start())
        self._skip(SPACES_AND_LINES)
        while self._at < len(self._text):
            self._rule()
        if not self._rules:
            raise UsageError("the grammar is empty")
        for name, at in self._references.items():
            if name not in self._rules:
                self._fail(f'there is no rule "{name}"', at)
        if "root" not in self._rules:
            raise UsageError('the grammar has no rule "root"')
        return self._rules

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        line = self._line(self._at if at is None else at)
        raise UsageError(f"grammar, line {line}: {message}", line=line)

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _peek(self, length: int = 1) -> str:
        return self._text[self._at : self._at + length]

    def _shown(self) -> str:
        return repr(self._peek()) if self._peek() else "the end"

    def _rule(self) -> None:
        line = self._line(self._at)
        match = NAME.match(self._text, self._at)
        if match is None:
            self._fail(f"expected the name of a rule, found {self._shown()}")
        self._at = match.end()
        self._symbols.add(match[0])
        self._skip(SPACES)
        if self._peek(3) != "::=":
            hint = ": names have letters, digits and hyphens" if self._peek() == "_" else ""
            self._fail(f'expected "::=" after "{match[0]}", found {self._shown()}{hint}')
        self._at += 3
        self._skip(SPACES_AND_LINES)
        self._rules[match[0]] = _Rule(line, self._alternatives(match[0], 0))
        if self._peek() and self._peek() not in "\r\n":
            hint = ": names have letters, digits and hyphens" if self._peek() == "_" else ""
            self._fail(f"expected the end of the line, found {self._shown()}{hint}")
        self._skip(SPACES_AND_LINES)

    def _alternatives(self, name: str, depth: int) -> list[list[_Element]]:
        if depth > MAX_NESTING:
            self._fail("parentheses are nested too deeply")
        found = [self._sequence(name, depth)]
        while self._peek() == "|":
            self._at += 1
            self._skip(SPACES_AND_LINES)
            found.append(self._sequence(name, depth))
        return found

    def _sequence(self, name: str, depth: int) -> list[_Element]:
        spaces = SPACES_AND_LINES if depth else SPACES
        elements: list[_Element] = []
        item = 0  # where the last item begins in `elements`
        cost = 0  # characters and names of the last item: 0: there is none
        repeated = 1  # rules that it stands for already
        while self._at < len(self._text):
            start = self._at
            if QUANTIFIER.match(self._text, self._at):
                least, most = self._quantifier(spaces)
                if not cost:
                    self._fail("nothing to repeat", start)
                total = most or least or 1
                if repeated * total > MAX_REPETITION:
                    self._fail(f"repeats more than {MAX_REPETITION} times, all in all", start)
                repeated *= total
                elements[item:] = self._repeat(elements[item:], name, cost, least, most)
                cost = len(elements) > item
                continue
            before = len(self._symbols)
            taken = self._item(name, depth)
            if taken is None:
                break
            self._skip(spaces)
            new, cost = taken
            item, repeated = len(elements), 1
            if self._text[start] == "(":
                repeated = max(1, len(self._symbols) - before)
            elements += new
            self._spend(cost)
        return elements

    def _item(self, name: str, depth: int) -> tuple[list[_Element], int] | None:
        """Take one item off the text; return its elements and their number in llama.cpp."""
        character = self._peek()
        if character == '"':
            count = self._characters('"', "literal")
        elif character == "[":
            count = self._characters("]", "set of characters")
        elif character in ("<", "!"):
            match = TOKEN.match(self._text, self._at)
            if match is None or int(match[1] or 0) >= 2**32:
                self._fail("expected a token: <text> or <[number]>")
            self._at = match.end()
            count = 1
        elif character == ".":
            self._at += 1
            count = 1
        elif match := NAME.match(self._text, self._at):
            self._references.setdefault(match[0], self._at)
            self._symbols.add(match[0])
            self._at = match.end()
            return [match[0]], 1
        elif character == "(":
            return [self._group(name, depth)], 1
        else:
            return None
        return [None] * (count > 0), count

    def _characters(self, end: str, what: str) -> int:
        """Take a literal or a set, and return the number of its characters."""
        start = self._at
        self._at += 1
        if end == "]" and self._peek() == "^":
            self._at += 1
        count = 0
        while self._peek() != end:
            match = CHARACTER_IN_GBNF.match(self._text, self._at)
            if match is None:
                if not self._peek():
                    self._fail(f"the {what} has no end", start)
                self._fail(f"unknown escape {self._peek(2)}")
            self._at = match.end()
            count += 1
            if end == "]" and self._peek() == "-" and self._peek(2) != "-]":
                self._at += 1
                if not self._peek():
                    self._fail(f"the {what} has no end", start)
                match = CHARACTER_IN_GBNF.match(self._text, self._at)
                if match is None:
                    self._fail(f"unknown escape {self._peek(2)}")
                self._at = match.end()
        self._at += 1
        return count

    def _group(self, name: str, depth: int) -> str:
        start = self._at
        self._at += 1
        self._skip(SPACES_AND_LINES)
        group = self._new_symbol(name)
        self._rules[group] = _Rule(self._line(start), self._alternatives(name, depth + 1))
        if self._peek() != ")":
            self._fail(f'expected ")" for the "(" in line {self._line(start)}, found {self._shown()}')
        self._at += 1
        return group

    def _quantifier(self, spaces: re.Pattern[str]) -> tuple[int, int | None]:
        character = self._peek()
        self._at += 1
        self._skip(spaces)
        if character != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        least = most = self._number(spaces)
        if least is None:
            self._fail(f'expected a number after "{{", found {self._shown()}')
        if self._peek() == ",":
            self._at += 1
            self._skip(spaces)
            most = self._number(spaces)
        if self._peek() != "}":
            self._fail(f'expected "}}", found {self._shown()}')
        if max(least, most or 0) > MAX_REPETITION:
            self._fail(f"repeats more than {MAX_REPETITION} times")
        if most is not None and most < least:
            self._fail(f"repeats {least} times at least and {most} times at most")
        self._at += 1
        self._skip(spaces)
        return least, most

    def _number(self, spaces: re.Pattern[str]) -> int | None:
        match = re.compile("[0-9]{1,10}").match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        self._skip(spaces)
        return int(match[0])

    def _repeat(
        self, item: list[_Element], name: str, cost: int, least: int, most: int | None
    ) -> list[_Element]:
        optional = 1 if most is None else most - least
        self._spend(cost * (least + optional))
        repeated = item * min(least, 1)  # as good as all of them, to find recursion
        if optional:
            again = self._new_symbol(name)
            for _ in range(optional - 1):
                self._new_symbol(name)
            more = [*item, again] if most is None else item
            self._rules[again] = _Rule(self._line(self._at), [more, []], chain=optional)
            repeated.append(again)
        return repeated

    def _spend(self, elements: int) -> None:
        self._elements += elements
        if self._elements > MAX_ELEMENTS or len(self._symbols) > MAX_ELEMENTS // 10:
            self._fail("the grammar is too large up to here")

    def _new_symbol(self, name: str) -> str:
        symbol = f"{name}_{len(self._symbols)}"
        self._symbols.add(symbol)
        return symbol


def _check_recursion(rules: dict[str, _Rule]) -> None:
    name, depth = _left_recursion(rules)
    if name is not None:
        rule, line = name.partition("_")[0], rules[name].line
        why = (
            "it begins with itself"
            if rule == name
            else "it repeats what may be empty, or begins with itself"
        )
        raise UsageError(f'grammar, line {line}: the rule "{rule}" is left-recursive: {why}', line=line)
    if depth > MAX_LEFT_DEPTH:
        raise UsageError("the grammar has too many rules that begin with each other")


def _left_recursion(rules: dict[str, _Rule]) -> tuple[str | None, int]:
    """Return a rule that may begin with itself, if there is one, and else how deep beginnings go."""
    empty = _matching_rules(rules, with_characters=False)
    depths: dict[str, int] = {}
    entered: set[str] = set()
    waiting = list(rules)
    while waiting:
        name = waiting[-1]
        first = [*_beginnings(rules[name], empty)]
        if name not in entered:
            entered.add(name)
            waiting += [other for other in first if other not in depths]
            for other in first:
                if other in entered and other not in depths:
                    return other, 0
        else:
            waiting.pop()
            if name not in depths:
                row = rules[name].alternatives[0]
                chain = rules[name].chain if all(element in empty for element in row) else 1
                depths[name] = chain + max((depths[other] for other in first), default=0)
    return None, max(depths.values(), default=0)


def _beginnings(rule: _Rule, empty: set[str]) -> Iterator[str]:
    """Yield the rules that a text of this rule may begin with."""
    for row in rule.alternatives:
        for element in row:
            if element is None:
                break
            yield element
            if element not in empty:
                break


def _matching_rules(rules: dict[str, _Rule], *, with_characters: bool) -> set[str]:
    """Return the rules that match any text at all; without characters, that match the empty text."""
    found: set[str] = set()
    users: dict[str, list[tuple[str, list[str]]]] = {}  # by name: rows, with what is missing in them
    waiting: list[str] = []
    for name, rule in rules.items():
        for row in rule.alternatives:
            needed = [element for element in row if element is not None]
            if len(needed) < len(row) and not with_characters:
                continue
            for element in needed:
                users.setdefault(element, []).append((name, needed))
            if not needed:
                waiting.append(name)
    while waiting:
        done = waiting.pop()
        if done in found:
            continue
        found.add(done)
        for name, missing in users.get(done, ()):
            missing.remove(done)
            if not missing:
                waiting.append(name)
    return found
