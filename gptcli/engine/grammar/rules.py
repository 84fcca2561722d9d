"""Writes the rules of a grammar, as GBNF: patterns become one rule a state of their automaton."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gptcli.engine.grammar.automaton import Automaton
from gptcli.engine.grammar.characters import Ranges
from gptcli.engine.grammar.gbnf import MAX_GBNF
from gptcli.engine.grammar.patterns import Pattern
from gptcli.errors import UsageError

Encoder = Callable[[Ranges], str]


class Rules:
    """The rules of a grammar as they are made."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._sets: dict[str, str] = {}
        self._length = 0
        self._count = 0

    def text(self) -> str:
        """Return the grammar."""
        return "".join(f"{name} ::= {body}\n" for name, body in self._rules.items())

    def new_name(self) -> str:
        """Return a name that no rule has yet."""
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
        self, pattern: Pattern, name: str | None = None, encode: Encoder | None = None
    ) -> str:
        """Add rules for the texts that match, and return the name of the first one."""
        automaton = Automaton(pattern)
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


def quoted(text: str) -> str:
    """Return the text as a literal of GBNF."""
    return '"' + "".join(_in_literal(ord(character)) for character in text) + '"'


def _joined_literals(terms: Iterable[str]) -> str:
    joined: list[str] = []
    for term in terms:
        if joined and term.startswith('"') and joined[-1].startswith('"'):
            joined[-1] = joined[-1][:-1] + term[1:]
        else:
            joined.append(term)
    return " ".join(joined)


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
