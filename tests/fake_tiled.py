"""A simulated context for exact scores: it puts tokens into cells as llama.cpp does.

Its numbers are those of FakeBackend. What it rounds depends on which of a sequence's cells share a tile,
and where in it they lie: `layouts` keeps that of every token whose logits were asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from gptcli.engine.backend import Aborted, Span
from gptcli.engine.exact_scores import TILE
from tests.fake_backend import FakeBackend

Layout = tuple[tuple[int, int], ...]
"""Of each token: the tile, counted from the first that the sequence has, and the place in it."""


class FakeTiledContext:
    """`backend` says what follows a text. `faults`: what the n-th evaluation (from 1) does first."""

    def __init__(
        self,
        backend: FakeBackend,
        *,
        batch_tokens: int = 2 * TILE,
        restores_parts: bool = True,
        faults: Mapping[int, Callable[[], None]] | None = None,
    ) -> None:
        self._backend = backend
        self.batch_tokens, self.restores_parts = batch_tokens, restores_parts
        self._faults = faults or {}
        self.evaluations = 0
        self.tokens_evaluated = 0
        self.opened: list[tuple[int, int]] = []
        self._cells = 0
        self._held: list[dict[int, int]] = []  # by sequence, the cell of each position
        self._token_of: dict[int, int] = {}  # by cell
        self._head = 0
        self._rows: dict[int, tuple[int, ...]] = {}
        self.layouts: dict[tuple[int, ...], set[Layout]] = {}

    def open(self, sequences: int, cells: int) -> None:
        self.opened.append((sequences, cells))
        self._cells = cells
        self._held = [{} for _ in range(sequences)]
        self.clear()

    def evaluate(self, spans: Sequence[Span]) -> None:
        self.evaluations += 1
        tokens = sum(len(span.tokens) for span in spans)
        assert 0 < tokens <= self.batch_tokens
        self.tokens_evaluated += tokens
        try:
            self._faults.get(self.evaluations, lambda: None)()
        except Aborted:
            self.clear()
            raise
        self._rows.clear()
        row = 0
        for span in spans:
            span.row = row
            held = self._held[span.sequence]
            assert sorted(held) == list(range(span.start)), "positions must follow each other"
            for offset, token in enumerate(span.tokens):
                held[span.start + offset] = self._place(token)
                if span.all_rows or (span.is_end and offset == len(span.tokens) - 1):
                    self._note_row(row + offset, held)
            row += len(span.tokens)
        # What fills the batch up needs cells too, for the moment.
        added = [self._place(0) for _ in range(max(TILE - row, -row % 16))]
        for cell in added:
            del self._token_of[cell]
        self._head = min([self._head, *added])

    def _place(self, token: int) -> int:
        while self._head in self._token_of:
            self._head += 1
        assert self._head < self._cells, "no free cell"
        self._token_of[self._head] = token
        self._head += 1
        return self._head - 1

    def _note_row(self, row: int, held: dict[int, int]) -> None:
        cells = [held[position] for position in sorted(held)]
        assert cells == sorted(cells), "a sum over these cells would be rounded in another order"
        self._rows[row] = tuple(self._token_of[cell] for cell in cells)
        tiles = sorted({cell // TILE for cell in cells})
        layout = tuple((tiles.index(cell // TILE), cell % TILE) for cell in cells)
        self.layouts.setdefault(self._rows[row], set()).add(layout)

    def logprobs(self, row: int, tokens: Sequence[int]) -> list[float]:
        assert row in self._rows, "no logits were asked for at this row"
        return [-self._backend.number_of((*self._rows[row], token)) / 2**32 for token in tokens]

    def share(self, source: int, target: int, start: int, end: int) -> None:
        assert not self._held[target], "copied into a sequence that is not empty"
        held = self._held[source]
        self._held[target] = {position: held[position] for position in range(start, end)}

    def drop(self, sequence: int, start: int = 0, end: int = -1) -> None:
        held = self._held[sequence]
        for position in [p for p in held if p >= start and (end < 0 or p < end)]:
            del held[position]
        in_use = {cell for each in self._held for cell in each.values()}
        freed = self._token_of.keys() - in_use
        for cell in freed:
            del self._token_of[cell]
        self._head = min([self._head, *freed])

    def save(self, sequence: int) -> memoryview:
        held = self._held[sequence]
        return memoryview(json.dumps({p: self._token_of[cell] for p, cell in held.items()}).encode())

    def restore(self, sequence: int, state: memoryview | bytearray) -> bool:
        assert not self._held[sequence], "restored into a sequence that is not empty"
        found = json.loads(bytes(state))
        self._held[sequence] = {int(position): self._place(token) for position, token in found.items()}
        return True

    def clear(self) -> None:
        for held in self._held:
            held.clear()
        self._token_of.clear()
        self._head = 0
