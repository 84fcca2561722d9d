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
    """Return the first text with those next in the queue that fit beside it, and take these out.

    `encode` returns None for a request of another kind. One for which it raises GptcliError stays: it is
    told when it is the first.
    """
    batch = [first]
    while waiting:
        try:
            text = encode(waiting[0])
        except GptcliError:
            break
        if text is None or not fits([*batch, text]):
            break
        waiting.popleft()
        batch.append(text)
    return batch
