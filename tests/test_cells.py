"""The books of the cache against a naive model: each sequence a list of (cell, token)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gptcli.engine.cells import CellLedger, common_prefix

SEQUENCES = 5
sequences = st.integers(0, SEQUENCES - 1)
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=12)


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = CellLedger(SEQUENCES)
        self.model: list[list[tuple[int, int]]] = [[] for _ in range(SEQUENCES)]
        self.cell = itertools.count()

    @rule(sequence=sequences, tokens=tokens)
    def extend(self, sequence: int, tokens: list[int]) -> None:
        self.ledger.extend(sequence, tokens)
        self.model[sequence] += [(next(self.cell), token) for token in tokens]

    @rule(sequence=sequences, data=st.data())
    def truncate(self, sequence: int, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, len(self.model[sequence])))
        self.ledger.truncate(sequence, length)
        del self.model[sequence][length:]

    @rule(source=sequences, to=sequences, data=st.data())
    def copy(self, source: int, to: int, data: st.DataObject) -> None:
        if source == to:
            return
        length = data.draw(st.integers(0, len(self.model[source])))
        self.ledger.truncate(to, 0)
        self.ledger.copy(source, to, length)
        self.model[to] = self.model[source][:length]

    @rule()
    def clear(self) -> None:
        self.ledger.clear()
        self.model = [[] for _ in range(SEQUENCES)]

    @invariant()
    def agrees(self) -> None:
        for n, held in enumerate(self.model):
            assert list(self.ledger.tokens(n)) == [token for _, token in held]
        assert self.ledger.used == len({cell for held in self.model for cell, _ in held})


TestBooks = Books.TestCase


@given(tokens, tokens, tokens)
def test_the_common_prefix_is_what_a_loop_finds(shared: list[int], a: list[int], b: list[int]) -> None:
    first, second = shared + a, shared + b

    found = common_prefix(first, second)

    loop = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    assert found == sum(1 for _ in loop)


def test_the_common_prefix_with_nothing() -> None:
    assert common_prefix([], [1, 2]) == common_prefix([1], []) == common_prefix([1], [2]) == 0
    assert common_prefix([1, 2], [1, 2]) == 2
