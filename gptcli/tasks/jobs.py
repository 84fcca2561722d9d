"""Jobs that ask the engine more than once, many at a time, their results in the order of the input.

A job is a generator: it yields the requests that it wants answered together, gets their results in the
same order, and may ask again; what it returns is its value. So a retry, several candidates, or a text
in pieces read as plain code, while the engine is kept busy with other jobs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from gptcli.engine.api import Completion, Engine, Generate, Timings, Usage
from gptcli.tasks.ordered import Result, run_ordered

T = TypeVar("T")
V = TypeVar("V")
Job = Generator[Sequence[Generate], Sequence[Result], V]

AHEAD = 64  # items that wait to be begun
OPEN_JOBS = 256  # begun and not yielded yet
NOTHING = Completion(text="", thinking="", finish_reason="stop", usage=Usage(), timings=Timings())


def run_jobs(
    engine: Engine, items: Iterable[T], start: Callable[[T], Job[V]]
) -> Generator[tuple[T, V], None, None]:
    """Yield each item with the value of its job, in the order of the items, as soon as it is there.

    `items` are read in a thread of their own, at most AHEAD in advance: a retry need not wait for the
    next one. `start` is called where requests are read. The ids of the requests are given here. Raises
    as `run_ordered`, and what `items`, `start` or a job raise. Closing the generator cancels.
    """
    work = _Work(items, start)
    results = run_ordered(engine, work.steps(), _Step.to_request, ahead=4 * OPEN_JOBS)
    try:
        for step, result in results:
            work.take(step, result)
            yield from work.done()
    finally:
        work.stop()
        results.close()


@dataclass(slots=True)
class _Open(Generic[T, V]):
    """A job that has begun."""

    item: T
    job: Job[V]
    results: list[Result | None] = field(default_factory=list)
    waits_for: int = 0
    is_done: bool = False
    value: V | None = None


@dataclass(slots=True)
class _Step(Generic[T, V]):
    """One request of a job; None: a job that needed no model, so that its turn comes."""

    open: _Open[T, V]
    place: int = 0
    request: Generate | None = None

    def to_request(self) -> Generate | Result:
        return self.request or NOTHING


class _Work(Generic[T, V]):
    """The jobs, between the thread that reads requests and the one that takes results."""

    def __init__(self, items: Iterable[T], start: Callable[[T], Job[V]]) -> None:
        self._items = iter(items)
        self._start = start
        self._jobs: deque[_Open[T, V]] = deque()  # in the order of the items
        self._pending: deque[_Step[T, V]] = deque()
        self._next_id = 0
        self._read: deque[T] = deque()
        self._is_at_end = self._is_stopped = False
        self._failure: BaseException | None = None
        self._change = threading.Condition()
        self._reader = threading.Thread(target=self._read_items, name="items", daemon=True)

    def _read_items(self) -> None:
        try:
            for item in self._items:
                with self._change:
                    self._change.wait_for(lambda: len(self._read) < AHEAD or self._is_stopped)
                    if self._is_stopped:
                        return
                    self._read.append(item)
                    self._change.notify_all()
        except BaseException as error:  # noqa: BLE001 (raised where the items are worked on)
            self._failure = error
        with self._change:
            self._is_at_end = True
            self._change.notify_all()

    def steps(self) -> Iterator[_Step[T, V]]:
        """Yield what is to be asked next: first for the jobs that have begun, then for new ones."""
        self._reader.start()
        while True:
            with self._change:
                self._change.wait_for(self._has_news)
                if self._is_stopped:
                    return
                if not self._pending:
                    if not self._read:
                        if self._failure is not None:
                            raise self._failure
                        return
                    self._begin(self._read.popleft())
                    self._change.notify_all()
                step = self._pending.popleft()
            yield step

    def _has_news(self) -> bool:
        if self._is_stopped or self._pending:
            return True
        if self._read:
            return len(self._jobs) < OPEN_JOBS
        return self._is_at_end and all(each.is_done for each in self._jobs)

    def _begin(self, item: T) -> None:
        opened = _Open(item, self._start(item))
        self._jobs.append(opened)
        self._go_on(opened, None)
        if opened.is_done:
            self._pending.append(_Step(opened))

    def _go_on(self, opened: _Open[T, V], results: Sequence[Result] | None) -> None:
        """Let a job go on until it asks for something or is done."""
        try:
            requests = next(opened.job) if results is None else opened.job.send(results)
            while not requests:
                requests = opened.job.send(())
        except StopIteration as end:
            opened.value, opened.is_done = end.value, True
            return
        opened.results = [None] * len(requests)
        opened.waits_for = len(requests)
        for place, request in enumerate(requests):
            self._pending.append(_Step(opened, place, replace(request, id=self._next_id)))
            self._next_id += 1

    def take(self, step: _Step[T, V], result: Result) -> None:
        """Hand a result to its job."""
        opened = step.open
        if step.request is None:
            return
        with self._change:
            opened.results[step.place] = result
            opened.waits_for -= 1
            if not opened.waits_for:
                results: list[Any] = opened.results
                self._go_on(opened, results)
            self._change.notify_all()

    def done(self) -> Iterator[tuple[T, V]]:
        """Yield the jobs that are done and come next."""
        while self._jobs and self._jobs[0].is_done:
            with self._change:
                opened = self._jobs.popleft()
                self._change.notify_all()
            value: Any = opened.value
            yield opened.item, value

    def stop(self) -> None:
        with self._change:
            self._is_stopped = True
            self._change.notify_all()
