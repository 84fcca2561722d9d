"""One request on a simulated model: prompts, tokens to text, stops, thinking, windows, cancellation."""

from __future__ import annotations

import math

import pytest

from gptcli.engine.api import (
    Delta,
    Event,
    Failed,
    Finished,
    Generate,
    Score,
    Scored,
    Started,
    Tokenize,
    Tokenized,
)
from gptcli.engine.scheduler import Scheduler
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.messages import Conversation, Message
from gptcli.sampling import SamplingParams
from tests.fake_backend import FakeBackend, Memory


def run(backend: FakeBackend, request: Generate) -> tuple[list[str], Finished]:
    """Return the pieces of the answer and the end."""
    events = list(Scheduler(backend).run([request]))
    assert isinstance(events[-1], Finished), events[-1]
    return [e.text for e in events if isinstance(e, Delta) and e.channel == "answer"], events[-1]


def test_an_answer_ends_with_its_end_token() -> None:
    pieces, end = run(FakeBackend([b"Hello", b" world"]), Generate(prompt="say it"))

    assert pieces == ["Hello", " world"]
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == ("stop", 2, 3)


def test_a_character_in_pieces_arrives_whole() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]

    pieces, _ = run(FakeBackend([b"caf", first, second, b"!"]), Generate(prompt="x"))

    assert pieces == ["caf", "é", "!"]


def test_a_stop_string_over_several_tokens_is_never_shown() -> None:
    backend = FakeBackend([b"fine", b"\nU", b"ser", b": no"])

    pieces, end = run(backend, Generate(prompt="x", stop=("\nUser:",)))

    assert (pieces, end.reason) == (["fine"], "stop")


def test_what_only_began_like_a_stop_string_is_shown_at_the_end() -> None:
    pieces, _ = run(FakeBackend([b"fine", b"\nUs"]), Generate(prompt="x", stop=("\nUser:",)))

    assert "".join(pieces) == "fine\nUs"


def test_control_tokens_are_no_text_and_say_where_thinking_ends() -> None:
    control = (b"<think>", b"</think>", b"<|im_end|>")
    backend = FakeBackend([b"<think>", b"hm", b"</think>", b"42", b"<|im_end|>"], control=control)
    question = Conversation((Message("user", "why"),))

    events = list(Scheduler(backend).run([Generate(prompt=question)]))

    shown = [(event.channel, event.text) for event in events if isinstance(event, Delta)]
    assert shown == [("thinking", "hm"), ("answer", "42")]


def test_the_window_ends_an_answer() -> None:
    backend = FakeBackend([b" more"] * 100, window=10)

    pieces, end = run(backend, Generate(prompt="one two three"))

    assert (len(pieces), end.reason) == (7, "length")


def test_no_token_is_evaluated_in_vain() -> None:
    backend = FakeBackend([b" a", b" b", b" c"])

    run(backend, Generate(prompt="x", sampling=SamplingParams(max_tokens=2)))

    assert backend.evaluated == 2  # the prompt and " a": nobody asks what follows " b"


def test_what_a_message_says_is_no_control_token() -> None:
    backend = FakeBackend([b"fine"], control=(b"<|im_end|>",))
    prompt = Conversation((Message("user", "a <|im_end|> b"),))

    _, end = run(backend, Generate(prompt=prompt))

    ((span,), *_) = backend.batches
    assert not any(backend.is_control(token) for token in span.tokens)
    shown = b"".join(backend.piece(token) for token in span.tokens)
    assert (shown, end.usage.prompt_tokens) == (b"a <|im_end|> b:", len(span.tokens))


def test_raw_text_may_have_control_tokens() -> None:
    backend = FakeBackend([b"fine"], control=(b"<|im_end|>",))

    run(backend, Generate(prompt="a<|im_end|> b"))

    ((span,), *_) = backend.batches
    assert [backend.is_control(token) for token in span.tokens] == [False, True, False]


@pytest.mark.parametrize(
    ("prompt", "kind"), [("word " * 60, ContextOverflowError), ("", UsageError)], ids=["long", "empty"]
)
def test_prompts_that_cannot_be_served(prompt: str, kind: type[Exception]) -> None:
    (event,) = Scheduler(FakeBackend()).run([Generate(prompt=prompt)])

    assert isinstance(event, Failed)
    assert isinstance(event.error, kind)


def test_cancelling_in_the_middle_keeps_what_was_written() -> None:
    backend = FakeBackend([b" more"] * 40)
    scheduler = Scheduler(backend)
    seen: list[Event] = []
    for event in scheduler.run([Generate(prompt="x", id=2)]):
        seen.append(event)
        if len(seen) == 4:
            scheduler.cancel(2)

    end = seen[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.completion_tokens) == ("cancelled", 3)


def test_a_cancellation_hits_a_request_that_waits() -> None:
    scheduler = Scheduler(FakeBackend())
    scheduler.cancel(4)

    (event,) = scheduler.run([Tokenize(prompt="a b", id=4)])

    assert isinstance(event, Finished)
    assert event.reason == "cancelled"


def test_a_cancellation_that_came_too_late_hits_nothing_else() -> None:
    scheduler = Scheduler(FakeBackend())
    (first,) = scheduler.run([Tokenize(prompt="a b", id=3)])
    scheduler.cancel(3)
    scheduler.expect(3)

    (second,) = scheduler.run([Tokenize(prompt="a b", id=3)])

    assert first == second


def test_white_space_before_a_continuation_belongs_to_it() -> None:
    request = Score(prefix="It is ", continuations=("good", "very good"))

    started, event = Scheduler(FakeBackend()).run([request])

    assert started == Started(id=0, prompt_tokens=2, context_size=50)
    assert isinstance(event, Scored)
    assert event.token_counts == (1, 2)


def test_white_space_that_is_a_token_of_its_own_belongs_to_the_prefix() -> None:
    request = Score(prefix="It is\n", continuations=("good", "bad"))
    _, scored = Scheduler(FakeBackend(control=[b"\n"])).run([request])

    assert isinstance(scored, Scored)
    assert scored.token_counts == (1, 1)
    assert scored.usage.prompt_tokens == 3


def test_a_continuation_without_tokens_has_no_score() -> None:
    (event,) = Scheduler(FakeBackend()).run([Score(prefix="It is", continuations=("",))])

    assert isinstance(event, Failed)


@pytest.mark.parametrize(
    ("keep", "text"), [("head", "w0 w1 w2 w3"), ("tail", "w6 w7 w8 w9"), ("middle", "w0 w1\n[…]\nw8 w9")]
)
def test_a_text_is_cut_to_its_limit(keep: str, text: str) -> None:
    whole = " ".join(f"w{n}" for n in range(10))
    request = Tokenize(prompt=whole, limit=4, keep=keep)  # type: ignore[arg-type]

    (event,) = Scheduler(FakeBackend()).run([request])

    assert event == Tokenized(id=0, text=text, token_count=10, kept_tokens=4)


def score(backend: FakeBackend, *continuations: str, beam: int | None = None) -> Scored:
    request = Score(prefix="It is", continuations=continuations, beam=beam)
    *_, event = Scheduler(backend).run([request])
    assert isinstance(event, Scored)
    return event


def test_continuations_that_begin_alike_are_evaluated_together() -> None:
    spans = (" very good indeed", " very", " very good", " very good end", " very end", " end")
    backend = FakeBackend()

    together = score(backend, *spans)

    assert together.logprobs == tuple(score(FakeBackend(), span).logprobs[0] for span in spans)
    assert together.token_counts == (3, 1, 2, 3, 2, 1)
    assert backend.evaluated == 4


def test_a_beam_goes_on_with_the_likeliest_first_tokens() -> None:
    spans = (" a b", " c d", " e f", " g h", " a", " c")
    alone = [score(FakeBackend(), span).logprobs[0] for span in spans]
    firsts = [score(FakeBackend(), span[:2]).logprobs[0] for span in spans[:4]]
    kept = sorted(range(4), key=lambda n: -firsts[n])[:2]

    found = score(FakeBackend(), *spans, beam=2)

    assert found.logprobs == tuple(
        logprob if n in kept or n > 3 else -math.inf for n, logprob in enumerate(alone)
    )


@pytest.mark.parametrize("memory", ["parts", "whole", "sliding"])
def test_a_lone_request_has_sequences_for_its_branches(memory: Memory) -> None:
    backend = FakeBackend(memory=memory, sliding=2)
    request = Score(prefix="a b c d e f", continuations=(" g h i", " j k l", " m n o"))

    *_, event = Scheduler(backend).run([request])

    assert isinstance(event, Scored)
    assert backend.evaluated == 6 + 3 * 2


def test_what_is_scored_in_between_does_not_drive_out_a_long_text() -> None:
    backend = FakeBackend(window=600)
    scheduler = Scheduler(backend, parallel=4)
    head, text = "h" + " h" * 20, " t" * 300
    continuations = (" a b", " c d")

    def read(prefix: str) -> int:
        before = backend.evaluated
        list(scheduler.run([Score(prefix=prefix, continuations=continuations)]))
        return backend.evaluated - before

    first = read(f"{head}{text} q r")
    read(f"{head} x y")
    again = read(f"{head}{text} s u")

    assert first > 300
    assert again == 2 + 2
