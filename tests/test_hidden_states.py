"""Hidden states: those of a text do not depend on what is read beside it."""

from __future__ import annotations

import math
from array import array
from collections import deque
from pathlib import Path

import pytest

from gptcli.engine import wire
from gptcli.engine.api import (
    Embed,
    Embedded,
    EngineSettings,
    Failed,
    Generate,
    HiddenState,
    Request,
    complete,
)
from gptcli.engine.embedding import LEAST_SHARED, TEXTS_AT_ONCE, Embedder, shared_prefix
from gptcli.engine.local import LocalEngine
from gptcli.engine.scheduler import Scheduler
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.sampling import SamplingParams
from tests.fake_backend import FakeBackend
from tests.tiny_gguf import make_tiny_model, make_tiny_recurrent_model

LAST, MEAN = HiddenState(1), HiddenState(1, "mean")
INSTRUCTION = "Review: the good one\nSentiment: good\n\nReview: "
NEAR = 0.01  # float sums in another order, and a cache of half precision
TEXTS = ["a good thing", "bad", "the other, longer than a batch " * 16, "bad in the end", "x"]


def states(engine: LocalEngine, texts: list[str], *wanted: HiddenState) -> list[list[list[float]]]:
    found = {
        e.id: e for e in engine.run(Embed(text=t, states=wanted, id=n) for n, t in enumerate(texts))
    }
    rows = []
    for n in range(len(texts)):
        event = found[n]
        assert isinstance(event, Embedded)
        rows.append([list(state) for state in event.states])
    return rows


def distance(one: list[float], other: list[float]) -> float:
    """Return how far two states are apart, in lengths of the first."""
    return math.dist(one, other) / math.hypot(*one)


@pytest.mark.parametrize("make", [make_tiny_model, make_tiny_recurrent_model])
@pytest.mark.parametrize("instruction", ["", INSTRUCTION], ids=["plain", "shared"])
def test_a_text_has_the_same_states_alone_and_beside_others(
    make: type, instruction: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "model.gguf")
    texts = [instruction + text for text in TEXTS]
    engine = LocalEngine(EngineSettings(model_path=str(path), model_name="m", ctx_size=1024))
    try:
        together = states(engine, texts, LAST, MEAN)
        alone = [states(engine, [text], LAST, MEAN)[0] for text in texts]
        backwards = states(engine, texts[::-1], LAST, MEAN)[::-1]
    finally:
        engine.close()

    for n in range(len(texts)):
        for one, other, third in zip(together[n], alone[n], backwards[n], strict=True):
            assert distance(one, other) < NEAR > distance(one, third)
    assert distance(together[0][0], together[1][0]) > 10 * NEAR


def test_the_mean_leaves_the_first_token_out(engine: LocalEngine) -> None:
    # <s>, then a token a letter: the states of a prefix are those of the longer text's beginning.
    lasts = [states(engine, [text], LAST)[0][0] for text in ("Q", "QZ", "QZJ")]
    (mean,) = states(engine, ["QZJ"], MEAN)[0]

    assert distance(mean, [sum(column) / 3 for column in zip(*lasts, strict=True)]) < NEAR


def test_layers_are_told_apart(tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "deep.gguf", layers=4)
    engine = LocalEngine(EngineSettings(model_path=str(path), model_name="deep"))
    try:
        assert engine.model.layer_count == 4
        high, low = states(engine, ["a good thing"], HiddenState(3), HiddenState(1))[0]
        (low_alone,) = states(engine, ["a good thing"], HiddenState(1))[0]
        (high_again,) = states(engine, ["a good thing"], HiddenState(3))[0]
    finally:
        engine.close()

    assert distance(low, low_alone) < NEAR > distance(high, high_again)
    assert distance(low, high) > 10 * NEAR


def test_the_model_still_writes_beside_it(engine: LocalEngine) -> None:
    request = Generate(prompt="the", sampling=SamplingParams(temperature=0, max_tokens=8))
    before = complete(engine, request).text
    states(engine, TEXTS, LAST)

    assert complete(engine, request).text == before


def test_what_cannot_be_read_is_told_and_the_others_go_on(engine: LocalEngine) -> None:
    requests = [
        Embed(text="fine", states=(LAST,), id=0),
        Embed(text="no such layer", states=(HiddenState(2),), id=1),
        Embed(text="word " * 3000, states=(LAST,), id=2),
        Embed(text="fine", states=(LAST,), id=3),
    ]

    found = {event.id: event for event in engine.run(requests)}

    assert isinstance(found[0], Embedded)
    assert isinstance(found[3], Embedded)
    assert isinstance(found[1], Failed)
    assert isinstance(found[1].error, UsageError)
    assert isinstance(found[2], Failed)
    assert isinstance(found[2].error, ContextOverflowError)


def test_as_many_texts_are_taken_as_fit_and_no_other_request() -> None:
    backend = FakeBackend(window=64, batch_tokens=64)
    embedder = Embedder(backend)
    short = Embed(text="a b c d", states=(LAST,))

    def taken(*following: Request) -> int:
        return len(embedder.take(short, deque(following)))

    assert taken() == 1
    assert taken(*[short] * 100) == 64 // 4
    assert Embedder(FakeBackend(batch_tokens=1000)).take(short, deque([short] * 100))[
        TEXTS_AT_ONCE - 1 :
    ]
    plain, other = Embed(text="a b", id=1), Embed(text="a b", states=(MEAN,), id=2)
    too_long = Embed(text="a " * 100, states=(LAST,), id=3)
    waiting: deque[Request] = deque([plain, short, other, short, too_long, short])
    assert len(embedder.take(short, waiting)) == 4
    assert list(waiting) == [plain, other, too_long]  # each is told of, or taken, when it is the first


def test_an_evaluation_that_was_aborted_for_others_loses_no_text() -> None:
    backend = FakeBackend(window=64)
    scheduler = Scheduler(backend, 4)
    faults = [backend.abort]
    backend.is_embedding = lambda: faults.pop()() if faults else None
    for n in range(6):
        scheduler.submit(Embed(text=f"text {n}", states=(LAST,), id=n))

    events = [event for _ in range(20) for event in scheduler.step()]

    assert [event.id for event in events if isinstance(event, Embedded)] == list(range(6))


def test_a_short_common_beginning_is_not_shared() -> None:
    long = list(range(100))

    assert shared_prefix([long]) == 0
    assert shared_prefix([[*long[: LEAST_SHARED - 1], 7, 7], long]) == 0
    assert shared_prefix([[*long[:LEAST_SHARED], 7], [*long[:LEAST_SHARED], 8]]) == LEAST_SHARED
    assert shared_prefix([long, long]) == len(long) - 1  # each has a token of its own


def test_states_cross_the_pipe_as_they_are() -> None:
    event = Embedded(id=3, states=(array("f", [1.5, -2e-9]), array("f")))

    assert wire.loads(wire.dumps(event)) == event
