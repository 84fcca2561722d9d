"""What every engine promises, run on each of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcli.engine.api import (
    FINAL_EVENTS,
    Delta,
    Embed,
    Embedded,
    Engine,
    EngineSettings,
    Event,
    Failed,
    Finished,
    Generate,
    HiddenState,
    Keep,
    Kept,
    Request,
    Score,
    Scored,
    Started,
    Tokenize,
    Tokenized,
    complete,
    score_all,
    tokenize,
)
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import UsageError
from gptcli.sampling import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(params=["scripted", "local"])
def any_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine: Engine
    if request.param == "scripted":
        engine = ScriptedEngine(default=Reply(text="one two three four five six seven eight"))
    else:
        path: Path = request.getfixturevalue("tiny_model")
        engine = LocalEngine(EngineSettings(model_path=str(path), model_name="tiny"))
    yield engine
    engine.close()


def test_generate_starts_grows_and_finishes(any_engine: Engine) -> None:
    events = list(any_engine.run([Generate(prompt="Once upon a time", sampling=GREEDY, id=7)]))

    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, Delta) for event in events[1:-1])
    assert {event.id for event in events} == {7}
    assert 0 < events[-1].usage.completion_tokens <= 12
    assert events[-1].usage.prompt_tokens == events[0].prompt_tokens > 0


def test_each_request_ends_once_and_keeps_its_id(any_engine: Engine) -> None:
    requests: list[Request] = [
        Generate(prompt="a b c", sampling=GREEDY, id=3),
        Score(prefix="a", continuations=(" b", " c"), id=5),
        Embed(text="hello there", id=4),
        Tokenize(prompt="hello there", id=9),
        Keep(prompt="a b c", id=10),
    ]

    final = [event for event in any_engine.run(requests) if isinstance(event, FINAL_EVENTS)]

    assert sorted(event.id for event in final) == [3, 4, 5, 9, 10]
    kinds = {event.id: type(event) for event in final}
    assert kinds == {3: Finished, 4: Embedded, 5: Scored, 9: Tokenized, 10: Kept}


def test_closing_cancels_and_the_engine_stays_usable(any_engine: Engine) -> None:
    endless = Generate(prompt="Once upon a time", sampling=SamplingParams(temperature=0), id=1)
    with contextlib.closing(any_engine.run([endless])) as events:
        deltas = [event for event in itertools.islice(events, 4) if isinstance(event, Delta)]
    assert len(deltas) == 3

    answer = complete(any_engine, Generate(prompt="Once upon a time", sampling=GREEDY))

    assert answer.usage.completion_tokens > 0


def test_a_failed_request_does_not_stop_the_others(any_engine: Engine) -> None:
    requests = [
        Generate(prompt="first", sampling=GREEDY, id=1),
        Generate(prompt="", sampling=GREEDY, id=2)
        if isinstance(any_engine, ScriptedEngine)
        else Generate(prompt="word " * 5000, sampling=GREEDY, id=2),
        Generate(prompt="third", sampling=GREEDY, id=3),
    ]

    final = [event for event in any_engine.run(requests) if isinstance(event, FINAL_EVENTS)]

    kinds = {event.id: type(event) for event in final}
    assert kinds == {1: Finished, 2: Failed, 3: Finished}


def test_requests_are_pulled_as_there_is_room(any_engine: Engine) -> None:
    pulled = 0

    def endless() -> Iterator[Request]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield Tokenize(prompt=f"text {number}", id=number)

    with contextlib.closing(any_engine.run(endless())) as events:
        assert len(list(itertools.islice(events, 50))) == 50

    assert pulled < 200


def test_an_error_in_the_requests_comes_out_after_the_results(any_engine: Engine) -> None:
    def broken() -> Iterator[Request]:
        yield Tokenize(prompt="fine", id=1)
        raise OSError("the disk is gone")

    events: list[Event] = []
    with pytest.raises(OSError, match="the disk is gone"):
        events.extend(any_engine.run(broken()))

    assert [event.id for event in events] == [1]


def test_the_token_limit_is_said(any_engine: Engine) -> None:
    answer = complete(
        any_engine, Generate(prompt="Once upon", sampling=SamplingParams(temperature=0, max_tokens=2))
    )

    assert answer.finish_reason == "length"
    assert answer.usage.completion_tokens == 2


def test_scores_come_for_each_continuation(any_engine: Engine) -> None:
    (scored,) = score_all(
        any_engine, [Score(prefix="The sky is", continuations=(" blue", " red green"))]
    )

    assert isinstance(scored, Scored)
    assert len(scored.logprobs) == len(scored.token_counts) == 2
    assert all(value < 0 for value in scored.logprobs)


def test_continuations_that_begin_alike_have_the_scores_that_they_have_alone(any_engine: Engine) -> None:
    prefix = "The passage.\nAnswer:"
    spans = (" in the\n", " the\n", " the good\n", " the good thing\n", " a good thing\n", " bad\n")
    texts = spans * 2  # more than are tokenized with the whole prefix

    (together,) = score_all(any_engine, [Score(prefix=prefix, continuations=texts)])
    alone = [next(score_all(any_engine, [Score(prefix=prefix, continuations=(t,))])) for t in spans]

    assert isinstance(together, Scored)
    scores = [each.logprobs[0] for each in alone if isinstance(each, Scored)]
    assert together.logprobs == pytest.approx(scores * 2, abs=0.05)


def test_logprobs_come_with_the_tokens(any_engine: Engine) -> None:
    answer = complete(any_engine, Generate(prompt="Once upon", sampling=GREEDY, logprobs=1))

    assert len(answer.logprobs) >= 1
    assert all(item.logprob <= 0 for item in answer.logprobs)


def test_tokenize_cuts_to_its_limit(any_engine: Engine) -> None:
    text = "alpha beta gamma delta epsilon zeta eta theta iota kappa"
    whole = tokenize(any_engine, Tokenize(prompt=text))

    cut = tokenize(any_engine, Tokenize(prompt=text, limit=4, keep="head"))

    assert whole.kept_tokens == whole.token_count == cut.token_count > 4
    assert cut.kept_tokens == 4
    assert text.startswith(cut.text.strip()[:3])


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        complete(ScriptedEngine(default=Reply(text="x")), Generate(prompt=""))


def test_hidden_states_come_as_asked(any_engine: Engine) -> None:
    states = (HiddenState(1), HiddenState(1, "mean"))
    requests = [Embed(text=f"the {word} thing", states=states, id=n) for n, word in enumerate("abc")]

    found = {event.id: event for event in any_engine.run(requests)}

    assert found.keys() == {0, 1, 2}
    for event in found.values():
        assert isinstance(event, Embedded)
        assert [len(state) for state in event.states] == [any_engine.model.embedding_size] * 2
