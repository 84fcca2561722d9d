"""Writes the rules of JSON texts: lists, objects, and what is inside a string."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from gptcli.engine.grammar.characters import Ranges, as_ranges, complement, intersection
from gptcli.engine.grammar.keywords import NoValueError
from gptcli.engine.grammar.rules import Rules, quoted
from gptcli.errors import UsageError

COUNT_BLOCK = 1000  # llama.cpp counts to 2000 in one repetition
MAX_COUNT = 100_000
# One space, or a line break with indentation, wherever JSON allows white space: enough for models to
# write as they are used to, and not enough to go on for ever.
SPACE = '(" " | "\\n" [ \\t]{0,20})?'
JSON_PLAIN = complement(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))


class JsonRules(Rules):
    """The rules of a grammar for JSON texts as they are made."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, str] = {}  # rules of the parts of JSON

    def part(self, name: str, body: Callable[[], str]) -> str:
        """Return the name of a rule that all of the grammar shares."""
        if name not in self._parts:
            self._parts[name] = self.new_name()
            self.add(body(), self._parts[name])
        return self._parts[name]

    def space(self) -> str:
        """Return the term for white space between the parts of a text."""
        return self.part("space", lambda: SPACE)

    def counted(self, item: str, least: int, most: int | None, path: str) -> str:
        """Return a term for `least` to `most` items one after the other."""
        if most is not None and least > most:
            raise NoValueError
        if max(least, most or 0) > MAX_COUNT:
            raise UsageError(f"the JSON schema at {path} counts to more than {MAX_COUNT}")
        blocks, rest = divmod(least, COUNT_BLOCK)
        terms = []
        if blocks:
            block = self.add(f"{item}{{{COUNT_BLOCK}}}")
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
            block = self.add(f"{item}{{{COUNT_BLOCK}}}")
            less = self.add(f"{item}{{0,{COUNT_BLOCK - 1}}}")
            for _ in range(blocks):
                term = self.add(f"{block} {term} | {less}")
        return term

    def enclosed(
        self,
        brackets: str,
        first: Sequence[str],
        item: str | None,
        least: int,
        most: int | None,
        path: str,
    ) -> str:
        """Return a term for a list: `first`, and then other items, as many as the limits allow."""
        space = self.space()
        begin, end = (f'"{bracket}"' for bracket in brackets)
        comma = f'"," {space}'
        if item is None:
            if least > len(first):
                raise NoValueError
            inside = f" {comma} ".join(first)
        else:
            known = first or [item]
            more = self.add(f"{comma} {item}")
            room = None if most is None else most - len(known)
            counted = self.counted(more, max(least - len(known), 0), room, path)
            inside = f" {comma} ".join(known) + f" {counted}"
        if not inside:
            return self.add(f"{begin} {space} {end}")
        if not first and least == 0:
            return self.add(f"{begin} {space} ({inside} {space})? {end}")
        return self.add(f"{begin} {space} {inside} {space} {end}")

    def ordered_object(self, members: Sequence[tuple[str, bool]], extra: str | None) -> str:
        """Return a term for the members in this order, optional ones or not, and then extra ones."""
        space = self.space()
        following: str | None = None  # a member, and what comes after it
        after = '""'  # what comes after a member
        if extra is not None:
            after = f'("," {space} {extra})*'
            following = self.add(f"{extra} {after}")
        is_optional = True  # nothing of what follows is needed
        for term, needed in reversed(members):
            first = f"{term} {after}"
            following = self.add(first if needed or following is None else f"{first} | {following}")
            is_optional = is_optional and not needed
            after = self.add(
                f'("," {space} {following})?' if is_optional else f'"," {space} {following}'
            )
        if following is None:
            return self.add(f'"{{" {space} "}}"')
        if is_optional:
            return self.add(f'"{{" {space} ({following} {space})? "}}"')
        return self.add(f'"{{" {space} {following} {space} "}}"')

    def other_key(self, names: Sequence[str]) -> str:
        """Return a term for the keys that are none of `names`; they are written without escapes."""
        plain = [
            name for name in names if all(intersection(JSON_PLAIN, ((ord(c), ord(c)),)) for c in name)
        ]

        def after(prefix: str) -> str:
            following = sorted(
                {name[len(prefix)] for name in plain if name.startswith(prefix) and name != prefix}
            )
            others = intersection(JSON_PLAIN, complement(as_ranges((ord(c), ord(c)) for c in following)))
            ways = [f"{quoted(c)} {after(prefix + c)}" for c in following]
            ways.append(f'{self.characters(others)} {anything} "\\""')
            return self.add(" | ".join(ways if prefix in plain else [*ways, '"\\""']))

        anything = self.add(f"{self.characters(JSON_PLAIN)}*")
        return self.add(f'"\\"" {after("")}')

    def json_characters(self, ranges: Ranges) -> str:
        """Return the term for one of the characters as it is written inside a JSON string."""
        plain = intersection(ranges, JSON_PLAIN)
        escaped = intersection(ranges, complement(JSON_PLAIN))
        ways = [self.characters(plain)] if plain else []
        ways += [quoted(json.dumps(chr(c))[1:-1]) for low, high in escaped for c in range(low, high + 1)]
        return ways[0] if len(ways) == 1 else self.shared(f"({' | '.join(ways)})")


def json_text(value: Any) -> str:
    """Return the value as JSON, with escapes only where it needs them."""
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if re.search("[\ud800-\udfff]", text) else text
