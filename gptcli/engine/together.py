"""Requests of the queue that are answered by one evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from gptcli.engine.api import Request
from gptcli.errors import GptcliError

T = TypeVar("T")


def taken_together(
    first: T,
    waiting: deque[Request],
    encode: Callable[[Request], T | None],
    fits: Callable[[list[T]], bool],
) -> list[T]:
    """Return the first text with those in the queue that fit beside it, and take these out.

    `encode` returns None for a request of another kind, which stays, as does one for which it raises
    GptcliError: that is told when it is the first.
    """
    batch, left = [first], list[Request]()
    while waiting:
        request = waiting.popleft()
        try:
            text = encode(request)
        except GptcliError:
            text = None
        if text is None:
            left.append(request)
        elif fits([*batch, text]):
            batch.append(text)
        else:
            left.append(request)
            break
    waiting.extendleft(reversed(left))
    return batch
