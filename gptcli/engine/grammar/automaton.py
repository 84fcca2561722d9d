"""Makes a pattern an automaton: states, and the characters that lead from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gptcli.engine.grammar.characters import Ranges, as_ranges
from gptcli.engine.grammar.patterns import Either, One, Pattern, Repeat, Row
from gptcli.errors import UsageError

MAX_STATES = 10_000
MAX_LINKS = 100_000
MAX_WORK = 500_000  # spans of characters looked at


@dataclass(slots=True)
class _Part:
    """A piece of an automaton: the places it may begin and end with, and whether it may be empty."""

    empty: bool
    first: list[int]
    last: list[int]


_Key = tuple[frozenset[int], bool]  # a state: the places that may follow, and whether it may be the end


class Automaton:
    """A pattern as states with edges: (characters, next state). Texts begin in state 0.

    First a place for each character of the pattern (Glushkov's construction), then states that no
    character leaves in two ways, unless that takes too many.
    """

    def __init__(self, pattern: Pattern) -> None:
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

    def _build(self, pattern: Pattern) -> _Part:
        match pattern:
            case One():
                return self._place(pattern.ranges)
            case Row():
                whole = _Part(empty=True, first=[], last=[])
                for part in pattern.parts:
                    whole = self._joined(whole, self._build(part))
                return whole
            case Either():
                parts = [self._build(option) for option in pattern.options]
                return _Part(
                    empty=any(part.empty for part in parts),
                    first=[place for part in parts for place in part.first],
                    last=[place for part in parts for place in part.last],
                )
            case Repeat():
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

    def _repeated(self, pattern: Repeat) -> _Part:
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
            states.append((final, [(as_ranges(found), number) for number, found in spans.items()]))
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
