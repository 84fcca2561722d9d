"""Finds the rules of a grammar on which llama.cpp would recurse without end, or match nothing."""

from __future__ import annotations

from collections.abc import Iterator

from gptcli.engine.grammar.gbnf import Rule
from gptcli.errors import UsageError

MAX_LEFT_DEPTH = 5000  # llama.cpp's search for left recursion is itself recursive


def check_recursion(rules: dict[str, Rule]) -> None:
    """Raise UsageError if llama.cpp would recurse without end, or too deeply."""
    name, depth = left_recursion(rules)
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


def left_recursion(rules: dict[str, Rule]) -> tuple[str | None, int]:
    """Return a rule that may begin with itself, if there is one, and else how deep beginnings go."""
    empty = matching_rules(rules, with_characters=False)
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


def _beginnings(rule: Rule, empty: set[str]) -> Iterator[str]:
    """Yield the rules that a text of this rule may begin with."""
    for row in rule.alternatives:
        for element in row:
            if element is None:
                break
            yield element
            if element not in empty:
                break


def matching_rules(rules: dict[str, Rule], *, with_characters: bool) -> set[str]:
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
