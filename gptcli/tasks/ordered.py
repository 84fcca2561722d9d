"""Results in the order of the input, on an engine that works on many requests at once."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gptcli.engine.api import (
    Completion,
    Delta,
    Embedded,
    Engine,
    Event,
    Failed,
    Finished,
    Request,
    RequestId,
    Scored,
    Started,
    Tokenize,
    TokenLogprob,
)
from gptcli.errors import EngineCrashedError, GptcliError

T = TypeVar("T")
Result = Completion | Scored | Embedded | GptcliError

AHEAD = 1024
CRASHES_IN_A_ROW = 5  # without a result in between: then it is not for single records
# The cheapest request. Its answer wakes the thread that waits for events, when an item needed no model.
WAKE_UP = Tokenize(prompt=".", id=-1)


def run_ordered(
    engine: Engine,
    items: Iterable[T],
    to_request: Callable[[T], Request | Result],
    *,
    ahead: int = AHEAD,
) -> Generator[tuple[T, Result], None, None]:
    """Yield each item with its result, in the order of the items, as soon as its turn has come.

    `to_request` gives an item's Generate, Score or Embed request, whose ids must differ and not be
    negative, or its result if it needs no model; a GptcliError that it raises is the item's result.
    `items` and `to_request` are called in the thread in which the engine reads requests; at most
    `ahead` items are read that are not yielded yet, or as many as an engine without such a thread
    holds. Closing the generator cancels.

    When the engine crashes, the requests it was working on are tried once more, each alone: one that
    crashes it again has the EngineCrashedError as its result, and the others go on. Raises the error
    of a model that does not load, the CRASHES_IN_A_ROWth crash without a result in between, and what
    `items` or `to_request` raise, after the results before it.
    """
    work = _Work(items, to_request, ahead)
    try:
        yield from _run(engine, work)
    finally:
        work.stop()


def _run(engine: Engine, work: _Work[T]) -> Iterator[tuple[T, Result]]:
    crashes = 0
    alone: deque[_Slot[T]] = deque()
    while True:
        suspect = alone.popleft() if alone else None
        requests = work.requests() if suspect is None else iter((suspect.again(),))
        try:
            with contextlib.closing(engine.run(requests)) as events:
                for event in events:
                    if work.take(event):
                        crashes = 0
                        yield from work.delivered()
        except EngineCrashedError as error:
            crashes += 1
            if error.details.get("stage") == "load" or crashes >= CRASHES_IN_A_ROW:
                raise
            if suspect is None:
                alone.extend(work.suspects())
            else:
                work.finish(suspect, error)
            yield from work.delivered()
        else:
            if suspect is None:
                work.check_done()
                return


@dataclass(slots=True)
class _Slot(Generic[T]):
    """An item that is not yielded yet, and what is there of its result."""

    item: T
    result: Result | None = None
    request: Request | None = None
    is_started: bool = False
    answer: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def again(self) -> Request:
        """Return the request, to be answered from its beginning."""
        assert self.request is not None
        self.is_started = False
        for pieces in (self.answer, self.thinking, self.logprobs):
            pieces.clear()
        return self.request

    def completion(self, event: Finished) -> Completion:
        return Completion(
            text="".join(self.answer),
            thinking="".join(self.thinking),
            finish_reason=event.reason,
            usage=event.usage,
            timings=event.timings,
            logprobs=tuple(self.logprobs),
        )


class _Work(Generic[T]):
    """The items between the thread that reads them and the thread that takes the events."""

    def __init__(
        self, items: Iterable[T], to_request: Callable[[T], Request | Result], ahead: int
    ) -> None:
        self._items = iter(items)
        self._to_request = to_request
        self._ahead = ahead
        self._slots: deque[_Slot[T]] = deque()  # in the order of the items
        self._by_id: dict[RequestId, _Slot[T]] = {}  # what the engine is to answer
        self._is_waking = False
        self._run = 0  # requests of an earlier run, one that crashed, are no longer read
        self._change = threading.Condition()
        # The reading thread of a run that crashed may still wait for the next item when a new run
        # begins: only one reads at a time, and what the old one gets is kept for the new one.
        self._reading = threading.Lock()
        self._kept: deque[T] = deque()
        self._failure: BaseException | None = None
        self._thread = threading.get_ident()

    # ------------------------------------------------------------------------- the reading thread

    def requests(self) -> Iterator[Request]:
        """Begin a run: yield the requests that are not answered, then those of further items."""
        with self._change:
            self._run += 1
            run, self._is_waking = self._run, False
            unanswered = list(self._by_id.values())
        return self._requests(run, unanswered)

    def _requests(self, run: int, unanswered: list[_Slot[T]]) -> Iterator[Request]:
        for slot in unanswered:
            yield slot.again()
        while True:
            self._wait_for_room(run)
            with self._reading:
                if run != self._run:
                    return
                try:
                    item = self._next_item()
                except StopIteration:
                    return
                request = self._add(item, run)
            if request is not None:
                yield request

    def _wait_for_room(self, run: int) -> None:
        if len(self._slots) < self._ahead or threading.get_ident() == self._thread:
            return
        with self._change:
            self._change.wait_for(lambda: len(self._slots) < self._ahead or run != self._run)

    def _next_item(self) -> T:
        if self._kept:
            return self._kept.popleft()
        if self._failure is not None:  # of which only a run that crashed has heard
            raise self._failure
        try:
            return next(self._items)
        except StopIteration:
            raise
        except BaseException as error:
            self._failure = error
            raise

    def _add(self, item: T, run: int) -> Request | None:
        """Take an item in; return what to ask the engine for, if anything."""
        try:
            found = self._to_request(item)
        except GptcliError as error:
            found = error
        with self._change:
            if run != self._run:
                self._kept.append(item)
                return None
            if isinstance(found, Completion | Scored | Embedded | GptcliError):
                self._slots.append(_Slot(item, found))
                # While the engine has something to answer, that answer brings this one along.
                wakes = not (self._by_id or self._is_waking)
                self._is_waking |= wakes
                return WAKE_UP if wakes else None
            if found.id < 0 or found.id in self._by_id:
                raise ValueError(f"a request's id must be its own and not negative, not {found.id}")
            slot = _Slot(item, request=found)
            self._slots.append(slot)
            self._by_id[found.id] = slot
        return found

    # -------------------------------------------------------------------------- the events' thread

    def take(self, event: Event) -> bool:
        """Take an event in; tell whether it may be some item's turn now."""
        slot = self._by_id.get(event.id)
        if slot is None:
            if event.id == WAKE_UP.id:
                self._is_waking = False
                return True
            return False
        if isinstance(event, Delta):
            (slot.answer if event.channel == "answer" else slot.thinking).append(event.text)
            if event.logprobs:
                slot.logprobs.extend(event.logprobs)
            return False
        if isinstance(event, Started):
            slot.is_started = True
            return False
        self.finish(slot, _result(slot, event))
        return True

    def finish(self, slot: _Slot[T], result: Result) -> None:
        assert slot.request is not None
        with self._change:
            slot.result = result
            del self._by_id[slot.request.id]

    def delivered(self) -> Iterator[tuple[T, Result]]:
        """Yield what has its result and comes next, and make room for as many items."""
        while self._slots and (result := self._slots[0].result) is not None:
            slot = self._slots.popleft()
            if len(self._slots) == self._ahead - 1:
                with self._change:
                    self._change.notify_all()
            yield slot.item, result

    def check_done(self) -> None:
        if self._slots:
            raise GptcliError(f"the engine ended without finishing {len(self._slots):,} requests")

    def suspects(self) -> list[_Slot[T]]:
        """End a run that crashed; return what the engine was working on."""
        self.stop()
        started = [slot for slot in self._by_id.values() if slot.is_started]
        # A crash before anything was admitted is blamed on what came first.
        return started or list(self._by_id.values())[:1]

    def stop(self) -> None:
        """Read no more items for the present run."""
        with self._change:
            self._run += 1
            self._change.notify_all()


def _result(slot: _Slot[T], event: Event) -> Result:
    if isinstance(event, Finished):
        return slot.completion(event)
    if isinstance(event, Failed):
        return event.error
    if isinstance(event, Scored | Embedded):
        return event
    raise TypeError(f"a result cannot be made of {type(event).__name__}")
