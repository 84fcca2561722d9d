"""Reads GBNF, the grammar notation of llama.cpp."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from gptcli.errors import UsageError

MAX_GBNF = 1 << 20  # characters
MAX_REPETITION = 2000  # llama.cpp's MAX_REPETITION_THRESHOLD
MAX_NESTING = 100
MAX_ELEMENTS = 2_000_000

NAME = re.compile("[A-Za-z0-9-]+")
CHARACTER_IN_GBNF = re.compile(
    r'\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\"\[\]-])|[^\\]', re.DOTALL
)
TOKEN = re.compile(r"!?<(?:\[([0-9]{1,10})\]|(?!\[)[^>]*)>")
SPACES = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
SPACES_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
QUANTIFIER = re.compile(r"[*+?]|\{")

Element = str | None  # the name of a rule, or None: something that takes a character or token


@dataclass(slots=True)
class Rule:
    """A rule as far as recursion goes: what its alternatives are made of."""

    line: int
    alternatives: list[list[Element]]
    chain: int = 1  # rules that llama.cpp makes of this one, each beginning with the next


def read_gbnf(text: str) -> dict[str, Rule]:
    """Return the rules of a grammar by name. Raises UsageError, with the line, if it is not one."""
    return _Parser(text).rules()


class _Parser:
    """Reads a grammar as llama.cpp does (src/llama-grammar.cpp), to say what is wrong, and where."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rules: dict[str, Rule] = {}
        self._references: dict[str, int] = {}  # name: where it is used first
        self._symbols: set[str] = set()  # names that llama.cpp has numbered
        self._elements = 0

    def rules(self) -> dict[str, Rule]:
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
        self._rules[match[0]] = Rule(line, self._alternatives(match[0], 0))
        if self._peek() and self._peek() not in "\r\n":
            hint = ": names have letters, digits and hyphens" if self._peek() == "_" else ""
            self._fail(f"expected the end of the line, found {self._shown()}{hint}")
        self._skip(SPACES_AND_LINES)

    def _alternatives(self, name: str, depth: int) -> list[list[Element]]:
        if depth > MAX_NESTING:
            self._fail("parentheses are nested too deeply")
        found = [self._sequence(name, depth)]
        while self._peek() == "|":
            self._at += 1
            self._skip(SPACES_AND_LINES)
            found.append(self._sequence(name, depth))
        return found

    def _sequence(self, name: str, depth: int) -> list[Element]:
        spaces = SPACES_AND_LINES if depth else SPACES
        elements: list[Element] = []
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
                    self._fail(f"repeats more often than llama.cpp counts ({MAX_REPETITION})", start)
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

    def _item(self, name: str, depth: int) -> tuple[list[Element], int] | None:
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
        self._rules[group] = Rule(self._line(start), self._alternatives(name, depth + 1))
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
            self._fail(f"repeats more often than llama.cpp counts ({MAX_REPETITION})")
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
        self, item: list[Element], name: str, cost: int, least: int, most: int | None
    ) -> list[Element]:
        optional = 1 if most is None else most - least
        self._spend(cost * (least + optional))
        repeated = item * min(least, 1)  # as good as all of them, to find recursion
        if optional:
            again = self._new_symbol(name)
            for _ in range(optional - 1):
                self._new_symbol(name)
            more = [*item, again] if most is None else item
            self._rules[again] = Rule(self._line(self._at), [more, []], chain=optional)
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
