"""Scores that do not depend on what else is scored: each sequence's cells lie in tiles of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.engine.api import Failed, Finished, Generate, Request, Score, Scored
from gptcli.engine.backend import Aborted
from gptcli.engine.exact_scores import TEXTS
from gptcli.engine.prompt_cache import PromptCache
from gptcli.engine.scheduler import Scheduler
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.sampling import SamplingParams
from tests.fake_backend import WORDS, FakeBackend
from tests.fake_tiled import FakeTiledContext

LABELS = (" yes", " no")
LONG_LABELS = (" yes", " not at all", " not so", " no by no means")


def backend_of(window: int = 20_000, **options: object) -> tuple[FakeBackend, FakeTiledContext]:
    backend = FakeBackend(window=window)
    context = FakeTiledContext(backend, **options)  # type: ignore[arg-type]
    backend.tiled = context
    return backend, context


def request(head: str, text: Sequence[str], labels: tuple[str, ...] = LABELS, number: int = 0) -> Score:
    return Score(prefix=f"{head}{' '.join(text)}", continuations=labels, head=head + "|", id=number)


def scores(
    backend: FakeBackend, requests: Sequence[Request], parallel: int = TEXTS
) -> dict[object, Scored]:
    events = Scheduler(backend, parallel).run(requests)
    return {event.id: event for event in events if isinstance(event, Scored)}


texts = st.lists(
    st.lists(st.sampled_from(WORDS[:4]), min_size=1, max_size=90), min_size=1, max_size=2 * TEXTS
)
heads = st.integers(0, 150).map(lambda count: "".join(WORDS[n % 7] for n in range(count)) + " then ")


@settings(deadline=None)
@given(texts, heads, st.sampled_from([LABELS, LONG_LABELS]), st.integers(1, TEXTS))
def test_where_a_text_lies_depends_on_nothing_but_itself(
    words: list[list[str]], head: str, labels: tuple[str, ...], parallel: int
) -> None:
    backend, context = backend_of()
    requests = [request(head, text, labels, number) for number, text in enumerate(words)]

    found = scores(backend, requests, parallel)
    for one in (requests[0], requests[-1]):
        assert scores(backend, [one])[one.id].logprobs == found[one.id].logprobs
    scores(backend, requests[::-1], parallel)

    assert len(found) == len(words)
    assert all(len(layouts) == 1 for layouts in context.layouts.values())


def test_what_many_begin_with_is_evaluated_once() -> None:
    backend, context = backend_of()
    head = "".join(WORDS[n % 7] for n in range(100)) + " then "
    found = scores(backend, [request(head, WORDS[:3], number=n) for n in range(10)])

    assert [each.usage.cached_tokens for each in found.values()] == [101] * 10
    assert context.tokens_evaluated < 101 + 2 + 10 * 7
    assert context.evaluations == 2
    assert backend.batches == []


def test_a_label_is_scored_to_its_last_token() -> None:
    backend, _ = backend_of()
    (found,) = scores(backend, [request("It is ", ["a"], LONG_LABELS)]).values()
    (first,) = scores(backend, [request("It is ", ["a"], (" not",))]).values()

    assert found.token_counts == (1, 3, 2, 4)
    assert found.logprobs[1] < first.logprobs[0]
    assert found.logprobs[2] < first.logprobs[0]
    assert found.logprobs[1] != found.logprobs[2]


def test_more_labels_than_fit_at_once() -> None:
    backend, context = backend_of()
    labels = tuple(f" {a} {b}" for a in "rstuvwxyz" for b in "rstuvwxyz")
    (found,) = scores(backend, [request("It is ", ["a"], labels)]).values()

    assert len(found.logprobs) == len(labels)
    assert all(len(layouts) == 1 for layouts in context.layouts.values())


def test_a_text_longer_than_an_evaluation() -> None:
    backend, context = backend_of()
    long = [WORDS[n % 5] for n in range(1000)]
    alone = scores(backend, [request("It is ", long)])[0]
    beside = scores(backend, [request("It is ", ["a"], number=1), request("It is ", long)])[0]

    assert beside.logprobs == alone.logprobs
    assert context.evaluations > 1000 // context.batch_tokens


def test_a_long_head_needs_no_more_sequences_than_llama_cpp_has() -> None:
    backend, context = backend_of()
    head = "".join(WORDS[n % 7] for n in range(12_000)) + " then "
    scores(backend, [request(head, ["a"] * 400, LONG_LABELS, number=n) for n in range(3)])

    assert all(sequences <= 256 for sequences, _ in context.opened)


def test_another_head_takes_the_place_of_the_first() -> None:
    backend, _ = backend_of()
    first, second = request("It is ", ["a"], number=1), request("They are ", ["a"], number=2)
    found = scores(backend, [first, second, first])

    assert found[1].logprobs == scores(backend, [first])[1].logprobs
    assert found[2].logprobs == scores(backend, [second])[2].logprobs


def test_heads_in_turns_are_read_once_each() -> None:
    backend, context = backend_of()
    long = ["".join(WORDS[n % 7] for n in range(shift, shift + 100)) + " then " for shift in (0, 3)]
    requests = [request(long[n % 2], WORDS[: 1 + n % 3], number=n) for n in range(64)]
    scheduler = Scheduler(backend, TEXTS)

    first = {event.id: event for event in scheduler.run(requests) if isinstance(event, Scored)}
    read, evaluations = context.tokens_evaluated, context.evaluations
    again = {event.id: event for event in scheduler.run(requests) if isinstance(event, Scored)}

    assert [again[n].logprobs for n in range(64)] == [first[n].logprobs for n in range(64)]
    # The first head was read once more, when it was known that there are several.
    own = sum(each.usage.prompt_tokens - each.usage.cached_tokens for each in first.values())
    assert read - own < 3 * 101 + 16 * evaluations
    assert context.tokens_evaluated - read < own + 16 * evaluations
    assert context.evaluations - evaluations <= 2 * 64 / (TEXTS / 2)
    assert all(len(layouts) == 1 for layouts in context.layouts.values())


def test_a_text_that_cannot_be_scored_fails_alone() -> None:
    backend, _ = backend_of(4000)
    too_long = request("It is ", ["a"] * 5000, number=1)
    empty = Score(prefix="It is", continuations=("",), head="It", id=2)
    events = list(Scheduler(backend, 8).run([request("It is ", ["a"]), too_long, empty]))

    assert [type(event) for event in events] == [Scored, Failed, Failed]
    errors = [event.error for event in events if isinstance(event, Failed)]
    assert isinstance(errors[0], ContextOverflowError)
    assert isinstance(errors[1], UsageError)


def test_a_cancelled_text_ends_and_the_others_are_scored_again() -> None:
    def stop() -> None:
        scheduler.cancel(1)
        raise Aborted

    backend, _ = backend_of(faults={2: stop})
    scheduler = Scheduler(backend, 8)
    events = list(scheduler.run([request("It is ", [word], number=n) for n, word in enumerate("abc")]))

    assert [event.id for event in events if isinstance(event, Scored)] == [0, 2]
    assert [event.id for event in events if isinstance(event, Finished)] == [1]


def test_a_head_is_kept_on_the_disk_for_exact_scores_alone(tmp_path: Path) -> None:
    head = "".join(WORDS[n % 7] for n in range(300)) + " then "
    counts = []
    for _ in range(2):
        backend, context = backend_of()
        prompts = PromptCache(tmp_path, "key", "model")
        list(Scheduler(backend, 8, prompts).run([request(head, ["a"])]))
        prompts.finish()
        counts.append(context.tokens_evaluated)
    backend, _ = backend_of()
    list(Scheduler(backend, 8, prompts).run([Score(prefix=head + "b", continuations=LABELS)]))

    assert counts[0] > 300 > 10 > counts[1]
    assert backend.evaluated > 300


@pytest.mark.parametrize("has_context", [True, False])
def test_answers_go_on_beside_exact_scores(has_context: bool) -> None:
    backend, _ = backend_of()
    if not has_context:
        backend.tiled = None
    answer = Generate(prompt="say it", sampling=SamplingParams(max_tokens=3), id=99)
    events = list(Scheduler(backend, 4).run([answer, request("It is ", ["a"])]))

    assert {event.id for event in events if isinstance(event, Scored | Finished)} == {99, 0}
