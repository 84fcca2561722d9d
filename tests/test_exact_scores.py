"""Scores that do not depend on what else is scored: small evaluations, and cells in order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gptcli.engine.api import Generate, Request, Score, Scored
from gptcli.engine.backend import Span
from gptcli.engine.scheduler import Scheduler
from gptcli.sampling import SamplingParams
from tests.fake_backend import WORDS, FakeBackend

EXACT = 8  # tokens in an exact evaluation


class PlacingBackend(FakeBackend):
    """Puts tokens where llama.cpp does: into the free cells from the first that became free."""

    def __init__(self) -> None:
        super().__init__(window=400, exact_tokens=EXACT)
        self.place_of: dict[int, int] = {}
        self._head = 0

    def evaluate(self, spans: Sequence[Span], *, exact: bool = False) -> None:
        before = [len(held) for held in self.sequences]
        super().evaluate(spans, exact=exact)
        self._forget()
        taken = set(self.place_of.values())
        for span in spans:
            for cell in self.sequences[span.sequence][before[span.sequence] :]:
                while self._head in taken:
                    self._head += 1
                self.place_of[cell] = self._head
                taken.add(self._head)
        if exact:
            assert sum(len(span.tokens) for span in spans) <= self.exact_tokens
            assert sum(len(s.tokens) if s.all_rows else s.is_end for s in spans) <= self.exact_rows
            for span in spans:
                places = [self.place_of[cell] for cell in self.sequences[span.sequence]]
                assert places == sorted(places), (
                    "a sum over these cells would be rounded in another order"
                )

    def _forget(self) -> None:
        """Find what became free since the last evaluation."""
        held = {cell for sequence in self.sequences for cell in sequence}
        for cell in self.place_of.keys() - held:
            self._head = min(self._head, self.place_of.pop(cell))


texts = st.lists(st.lists(st.sampled_from(WORDS[:4]), min_size=1, max_size=12), min_size=1, max_size=30)


@given(
    texts,
    st.sampled_from([(" yes", " no"), (" yes", " not at all", " not so")]),
    st.integers(1, 6),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
def test_cells_lie_in_order_while_texts_come_and_go(
    words: list[list[str]], labels: tuple[str, ...], parallel: int, arrivals: list[int]
) -> None:
    backend = PlacingBackend()
    scheduler = Scheduler(backend, parallel)
    head = " ".join(WORDS[4:8]) + " " + " ".join(WORDS[6:10])
    waiting: list[Request] = [
        Score(prefix=f"{head} {' '.join(text)}", continuations=labels, exact=True, id=n)
        for n, text in enumerate(words)
    ]
    found: dict[object, tuple[float, ...]] = {}
    turn = 0
    while waiting or scheduler.has_work:
        for request in waiting[: arrivals[turn % len(arrivals)]]:
            scheduler.submit(request)
        del waiting[: arrivals[turn % len(arrivals)]]
        turn += 1
        for event in scheduler.step():
            if isinstance(event, Scored):
                found[event.id] = event.logprobs

    assert len(found) == len(words)
    assert all(backend.exact)


def test_others_are_not_held_up_by_exactness() -> None:
    backend = PlacingBackend()
    answer = Generate(prompt="say it", sampling=SamplingParams(max_tokens=3), id=1)
    score = Score(prefix=" ".join(WORDS[:6]), continuations=(" yes",), id=2)

    list(Scheduler(backend, 2).run([answer, score]))

    assert backend.exact
    assert not any(backend.exact)
