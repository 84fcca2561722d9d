"""The context window of a chat: what a prompt may take of it, and what leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ROOM_FOR_ANSWER = 1024  # tokens kept free for an answer of unknown length,
ROOM_SHARE = 4  # but at most this part of the window
TEMPLATE_TOKENS = 64  # at most, that a chat template writes around a message


@dataclass(frozen=True, slots=True)
class TurnsLeft:
    """The window was full: the oldest turns are no longer in the prompt. They stay in the store."""

    count: int
    context_size: int


def left_text(event: TurnsLeft) -> str:
    """Return the line that says which turns left the window."""
    turns = "the oldest turn" if event.count == 1 else f"the {event.count} oldest turns"
    verb = "is" if event.count == 1 else "are"
    return (
        f"{turns} {verb} no longer before the model: its context window of "
        f"{event.context_size:,} tokens was full (/compact summarizes instead)"
    )


def prompt_room(context_size: int, max_tokens: int | None) -> int:
    """Return the tokens that a prompt may have so that an answer has room behind it."""
    return context_size - min(max_tokens or ROOM_FOR_ANSWER, context_size // ROOM_SHARE)


def fitting_start(start: int, last: int, count: Callable[[int], int], limit: int) -> int:
    """Return the first turn from `start` on with which the prompt has at most `limit` tokens; or `last`.

    `count` gives the tokens of the prompt that begins with a turn; fewer turns have fewer tokens.
    """
    low, high = start, last
    while low < high:
        middle = (low + high) // 2
        if count(middle) <= limit:
            high = middle
        else:
            low = middle + 1
    return low
