"""Jobs that ask more than once: order, retries, endless input, failures."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcli.engine.api import Completion, EngineSettings, Generate
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import GptcliError
from gptcli.tasks.jobs import Job, run_jobs
from gptcli.tasks.translation_sentence import together


def ask(text: str) -> Generate:
    return Generate(prompt=text)


def twice(item: int) -> Job[str]:
    """Ask two things together, then a third."""
    first, second = yield [ask(f"{item} a"), ask(f"{item} b")]
    (third,) = yield [ask(f"{item} c")]
    return "".join(each.text for each in (first, second, third) if isinstance(each, Completion))


def silent(item: int) -> Job[str]:
    """Ask nothing of every second item."""
    if item % 2:
        yield [ask("x")]
    return f"done {item}"


def test_results_come_in_the_order_of_the_items() -> None:
    engine = ScriptedEngine(Reply(text=str(n)) for n in range(9))

    assert list(run_jobs(engine, range(3), twice)) == [(0, "012"), (1, "345"), (2, "678")]


def test_jobs_that_need_no_model_keep_their_turn() -> None:
    engine = ScriptedEngine(default=Reply(text="x"))

    assert [value for _, value in run_jobs(engine, range(5), silent)] == [f"done {n}" for n in range(5)]


def test_nothing_in_gives_nothing() -> None:
    assert list(run_jobs(ScriptedEngine(), (), twice)) == []


def test_a_retry_does_not_wait_for_the_next_item(tiny_model: Path) -> None:
    """A line of a pipe that is tried again is there before the next line comes."""
    goes_on = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert goes_on.wait(30)
        yield 1

    engine = LocalEngine(EngineSettings(model_path=str(tiny_model), model_name="tiny"))
    try:
        results = run_jobs(engine, items(), retried)
        first = next(results)
        goes_on.set()
        assert [first, *results] == [(0, 2), (1, 2)]
    finally:
        goes_on.set()
        engine.close()


def retried(item: int) -> Job[int]:
    from gptcli.sampling import SamplingParams

    sampling = SamplingParams(max_tokens=2)
    yield [Generate(prompt=f"text {item}", sampling=sampling)]
    yield [Generate(prompt=f"text {item} again", sampling=sampling)]
    return 2


def test_endless_input_is_read_as_far_as_needed() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in itertools.count():
            read = number
            yield number

    results = run_jobs(ScriptedEngine(default=Reply(text="x")), items(), twice)
    assert [next(results)[0] for _ in range(3)] == [0, 1, 2]
    results.close()
    time.sleep(0.05)
    seen = read
    time.sleep(0.05)
    assert read == seen < 1000


def test_what_the_items_raise_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("broken input")

    results = run_jobs(ScriptedEngine(default=Reply(text="x")), items(), twice)
    assert next(results) == (0, "xxx")
    with pytest.raises(ValueError, match="broken input"):
        next(results)


def test_a_job_sees_the_error_of_its_request() -> None:
    engine = ScriptedEngine()
    engine.fail(GptcliError("tired"))
    engine.reply("again")

    def patient(_item: int) -> Job[str]:
        (result,) = yield [ask("a")]
        if isinstance(result, GptcliError):
            (result,) = yield [ask("b")]
        assert isinstance(result, Completion)
        return result.text

    assert list(run_jobs(engine, [1], patient)) == [(1, "again")]


def test_jobs_side_by_side_ask_together() -> None:
    engine = ScriptedEngine(Reply(text=str(n)) for n in range(9))

    def both(_item: int) -> Job[list[str]]:
        values: list[str] = yield from together([twice(0), silent(0), twice(1)])
        return values

    ((_, values),) = run_jobs(engine, [0], both)

    assert values == ["014", "done 0", "235"]
