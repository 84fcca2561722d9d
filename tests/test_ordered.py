"""Results in order: whatever order the engine finishes in, whoever needs no model, whatever crashes."""

from __future__ import annotations

import contextlib
import itertools
import queue
import random
import threading
from collections.abc import Generator, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.engine.api import (
    Completion,
    Delta,
    Event,
    Failed,
    Finished,
    Generate,
    ModelInfo,
    Request,
    Score,
    Scored,
    Started,
    Timings,
    Tokenize,
    Tokenized,
    Usage,
)
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import EngineCrashedError, GptcliError, UsageError
from gptcli.tasks.ordered import Result, run_ordered

NO_MODEL = Completion(text="none", thinking="", finish_reason="stop", usage=Usage(), timings=Timings())


class Shuffling:
    """An engine that reads requests in a thread of its own and works on `slots` of them at once.

    A request is started when it is taken in. Pieces of answers interleave; who grows next is up to
    `seed`. The answer to "abc" is "A B C"; a prompt with "fail" fails, and one in `poison` ends the
    engine once it was started.
    """

    model = ModelInfo(name="shuffling")

    def __init__(self, seed: int = 0, *, slots: int = 4, poison: Iterable[str] = ()) -> None:
        self._random = random.Random(seed)
        self._slots = slots
        self._poison = set(poison)
        self.runs: list[list[str]] = []
        self.is_idle = True

    def close(self) -> None: ...

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        assert self.is_idle
        self.is_idle = False
        arrived: queue.Queue[Request | BaseException | None] = queue.Queue(self._slots)
        threading.Thread(target=_feed, args=(requests, arrived), daemon=True).start()
        try:
            yield from self._work(arrived)
        finally:
            self.is_idle = True

    def _work(
        self, arrived: queue.Queue[Request | BaseException | None]
    ) -> Generator[Event, None, None]:
        prompts: list[str] = []
        self.runs.append(prompts)
        running: list[Iterator[Event]] = []
        end: BaseException | None = None
        is_ended = False
        while running or not is_ended:
            while not is_ended and len(running) < self._slots:
                try:
                    request = arrived.get(block=not running, timeout=0.002 if running else None)
                except queue.Empty:
                    break
                if isinstance(request, Generate | Score | Tokenize):
                    prompts.append(_text(request))
                    running.append(self._answer(request))
                    yield next(running[-1])
                else:
                    assert request is None or isinstance(request, BaseException)
                    is_ended, end = True, request
            if running:
                chosen = self._random.choice(running)
                event = next(chosen, None)
                if event is None:
                    running.remove(chosen)
                else:
                    yield event
        if end is not None:
            raise end

    def _answer(self, request: Request) -> Iterator[Event]:
        prompt = _text(request)
        if isinstance(request, Tokenize):
            yield Tokenized(id=request.id, text=prompt, token_count=1, kept_tokens=1)
            return
        if isinstance(request, Score):
            yield Scored(id=request.id, logprobs=(-1.0,), token_counts=(1,))
            return
        yield Started(id=request.id, prompt_tokens=1, context_size=10)
        if prompt in self._poison:
            raise EngineCrashedError(f"{prompt} was too much", stage="run")
        if "fail" in prompt:
            yield Failed(id=request.id, error=GptcliError("as asked"))
            return
        yield Delta(id=request.id, text="hm", channel="thinking")
        for number, letter in enumerate(prompt):
            yield Delta(id=request.id, text=f"{' ' if number else ''}{letter.upper()}")
        yield Finished(id=request.id, reason="stop", usage=Usage(completion_tokens=len(prompt)))


def _feed(requests: Iterable[Request], arrived: queue.Queue[Request | BaseException | None]) -> None:
    try:
        for request in requests:
            arrived.put(request)
    except BaseException as error:  # noqa: BLE001
        arrived.put(error)
    else:
        arrived.put(None)


def _text(request: Request) -> str:
    text = request.prefix if isinstance(request, Score) else getattr(request, "prompt", "")
    assert isinstance(text, str)
    return text


class Asking:
    """Makes requests of prompts, with ids of their own."""

    def __init__(self) -> None:
        self._ids = itertools.count()

    def __call__(self, prompt: str) -> Request | Result:
        if prompt.startswith("none"):
            return NO_MODEL
        if prompt.startswith("broken"):
            raise UsageError("broken")
        if prompt.startswith("score"):
            return Score(prefix=prompt, continuations=("x",), id=next(self._ids))
        return Generate(prompt=prompt, id=next(self._ids))


def shown(result: Result) -> str:
    """Return a result as a word."""
    if isinstance(result, Completion):
        assert result.thinking == ("" if result is NO_MODEL else "hm")
        return result.text
    return type(result).__name__


def expected(prompt: str) -> str:
    kinds = {"none": "none", "broken": "UsageError", "score": "Scored", "fail": "GptcliError"}
    return kinds.get(prompt.split("-")[0]) or " ".join(prompt.upper())


PROMPTS = st.lists(
    st.sampled_from(["none", "broken", "score", "fail"]) | st.text("abc", min_size=1, max_size=6),
    max_size=40,
)


@given(PROMPTS, st.integers(0, 1000), st.integers(1, 6), st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_every_item_once_in_order(prompts: list[str], seed: int, slots: int, ahead: int) -> None:
    results = list(run_ordered(Shuffling(seed, slots=slots), prompts, Asking(), ahead=ahead))

    assert [item for item, _ in results] == prompts
    assert [shown(result) for _, result in results] == [expected(prompt) for prompt in prompts]


@pytest.mark.parametrize("ahead", [1, 7])
def test_no_more_is_read_than_is_allowed(ahead: int) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "none" if read % 3 == 0 else "ab"

    with contextlib.closing(run_ordered(Shuffling(), endless(), Asking(), ahead=ahead)) as results:
        for taken, _ in enumerate(itertools.islice(results, 200), 1):
            assert read <= taken + ahead + 1  # one was read and waits for room

    assert taken == 200


@pytest.mark.parametrize("engine", [Shuffling(), ScriptedEngine(default=Reply(text="x"))])
def test_a_long_answer_holds_back_what_comes_after_it_and_no_more(
    engine: Shuffling | ScriptedEngine,
) -> None:
    prompts = ["a" * 300, *["none", "b"] * 50]

    assert [item for item, _ in run_ordered(engine, prompts, Asking(), ahead=10)] == prompts


@pytest.mark.parametrize("prompts", [["ab"], ["none"], ["ab", "none"], ["none", "broken", "none"]])
def test_results_do_not_wait_for_an_input_that_pauses(prompts: list[str]) -> None:
    goes_on = threading.Event()

    def trickle() -> Iterator[str]:
        yield from prompts
        assert goes_on.wait(5)
        yield "c"

    results = run_ordered(Shuffling(), trickle(), Asking())
    first = [next(results)[0] for _ in prompts]
    goes_on.set()

    assert first == prompts
    assert [shown(result) for _, result in results] == ["C"]


def test_closing_cancels_and_frees_the_engine() -> None:
    engine = Shuffling()
    results = run_ordered(engine, itertools.repeat("abc"), Asking(), ahead=3)
    next(results)
    results.close()

    assert engine.is_idle
    assert [shown(result) for _, result in run_ordered(engine, ["ab"], Asking())] == ["A B"]


def test_an_error_of_the_input_comes_after_the_results() -> None:
    def broken() -> Iterator[str]:
        yield "ab"
        raise OSError("the disk is gone")

    seen: list[tuple[str, Result]] = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(run_ordered(Shuffling(), broken(), Asking()))
    assert [item for item, _ in seen] == ["ab"]


def test_one_id_for_two_requests_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="must be its own"):
        list(run_ordered(Shuffling(), ["ab", "bc"], lambda text: Generate(prompt=text, id=1)))


@given(
    st.lists(st.sampled_from(["none", "a", "bb", "ccc", "x"]), max_size=30),
    st.integers(0, 1000),
    st.integers(1, 5),
)
@settings(deadline=None, max_examples=60)
def test_a_record_that_ends_the_engine_fails_alone(prompts: list[str], seed: int, slots: int) -> None:
    # At most two records end it, so it never happens too often in a row.
    prompts = [*(prompt for prompt in prompts if prompt != "x"), *(["x"] if "x" in prompts else [])]
    prompts = ["x", *prompts]
    engine = Shuffling(seed, slots=slots, poison={"x"})

    results = list(run_ordered(engine, prompts, Asking()))

    wanted = ["EngineCrashedError" if prompt == "x" else expected(prompt) for prompt in prompts]
    assert [shown(result) for _, result in results] == wanted


def test_what_was_worked_on_at_a_crash_is_tried_again_alone() -> None:
    engine = Shuffling(slots=2, poison={"x"})

    results = list(run_ordered(engine, ["a" * 500, "x", "b", "c"], Asking()))

    assert [type(result) for _, result in results[:2]] == [Completion, EngineCrashedError]
    assert engine.runs == [["a" * 500, "x"], ["a" * 500], ["x"], ["b", "c"]]


def test_crashes_with_results_in_between_go_on() -> None:
    results = run_ordered(Shuffling(slots=1, poison={"x"}), ["x", "a"] * 8, Asking())

    assert [shown(result) for _, result in results] == ["EngineCrashedError", "A"] * 8


def test_an_engine_that_leaves_work_undone_is_an_error() -> None:
    class Idle(Shuffling):
        def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
            yield from (Started(id=each.id, prompt_tokens=1, context_size=9) for each in requests)

    with pytest.raises(GptcliError, match="without finishing 2 requests"):
        list(run_ordered(Idle(), ["a", "b"], Asking()))


def test_a_crash_while_the_input_pauses_loses_nothing() -> None:
    goes_on = threading.Event()

    def trickle() -> Iterator[str]:
        yield "ab"
        yield "x"
        assert goes_on.wait(5)
        yield "none"
        yield "bc"

    results = run_ordered(Shuffling(poison={"x"}), trickle(), Asking())
    first = [shown(next(results)[1]) for _ in range(2)]
    goes_on.set()

    assert first == ["A B", "EngineCrashedError"]
    assert [shown(result) for _, result in results] == ["none", "B C"]


def test_an_error_of_the_input_is_heard_after_a_crash() -> None:
    goes_on = threading.Event()

    def broken() -> Iterator[str]:
        yield "x"
        assert goes_on.wait(5)
        raise OSError("the disk is gone")

    results = run_ordered(Shuffling(poison={"x"}), broken(), Asking())
    next(results)
    goes_on.set()

    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_crashes_without_end_end_the_run() -> None:
    engine = Shuffling(poison={"x"})

    with pytest.raises(EngineCrashedError, match="too much"):
        list(run_ordered(engine, itertools.repeat("x"), Asking()))
    assert len(engine.runs) == 5
