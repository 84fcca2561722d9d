"""Limits of what a template does, makes and takes in time."""

from __future__ import annotations

import contextlib
import re
import signal
import string
import sys
import threading
import time
from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from itertools import islice
from typing import Any

TIME_LIMIT_S = 2.0
BASE_BUDGET, BUDGET_PER_CHARACTER = 32 << 20, 64
BASE_SIZE, SIZE_PER_CHARACTER = 1 << 20, 4
STEP_COST = 64  # so at least 524,288 calls and rounds of loops
MAX_ITEMS = 100_000
MAX_BITS = 4096
MAX_DEPTH = 50


class LimitError(BaseException):
    """The template does too much. No `Exception`, so that no code of Jinja takes it for its own."""


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise LimitError in the block after TIME_LIMIT_S, wherever it is.

    Signals reach the main thread only, and Windows has no timer for them; there, the clock is
    looked at whenever the template does something (`Budget.step`).
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    running = True

    def stop(_signal: int, _frame: object) -> None:
        if running:
            raise LimitError("it takes too long")

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, LimitError):
            previous_hook(lost)

    previous_hook, sys.unraisablehook = sys.unraisablehook, unraisable
    previous = signal.signal(signal.SIGALRM, stop)
    # Again and again, because one that is raised in a destructor or while garbage is collected is lost.
    earlier = signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S, 0.1)
    try:
        try:
            yield
        finally:
            running = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, *earlier)
        signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)
        sys.unraisablehook = previous_hook


class Budget:
    """Counts what a template does and makes; raises LimitError when that is too much."""

    def __init__(self) -> None:
        self._left = 0  # steps and characters
        self._largest = 0  # characters and items of one value, written out in full
        self._deadline = 0.0
        self._known: dict[int, tuple[object, int, int]] = {}  # by id: the container, size and depth
        self.opaque: type = type(None)  # Jinja's Namespace: may hold itself, and anything

    def start(self, prompt_characters: int) -> None:
        """Set the limits for a conversation of so many characters, and start the clock."""
        self._left = BASE_BUDGET + BUDGET_PER_CHARACTER * prompt_characters
        self._largest = BASE_SIZE + SIZE_PER_CHARACTER * prompt_characters
        self._deadline = time.monotonic() + TIME_LIMIT_S
        self._known.clear()

    def spend(self, cost: int) -> None:
        """Count work: steps or characters."""
        self._left -= cost
        if self._left < 0:
            raise LimitError("it does too much")

    def step(self) -> None:
        """Count a call or a round of a loop."""
        self.spend(STEP_COST)
        if time.monotonic() > self._deadline:
            raise LimitError("it takes too long")

    def made(self, value: Any) -> Any:
        """Count a value that the template has made, and return it; iterators as lists."""
        if isinstance(value, Iterator | ItemsView | KeysView | ValuesView):
            value = list(islice(value, MAX_ITEMS + 1))
        if isinstance(value, str):
            self.spend(len(value))
        if not isinstance(value, self.opaque):
            self.size(value)
        return value

    def size(self, value: Any) -> int:
        """Return the characters and items of a value, counting shared parts each time they occur."""
        return self.measure(value)[0]

    def measure(self, value: Any) -> tuple[int, int]:
        """Return the size, and how deep lists and dicts are nested in the value."""
        if isinstance(value, str):
            size, depth = len(value), 0
        elif isinstance(value, int):
            size, depth = value.bit_length(), 0
            if size > MAX_BITS:
                raise LimitError("it computes with huge numbers")
        elif isinstance(value, list | tuple | dict):
            size, depth = self._measure_container(value)
        elif isinstance(value, self.opaque):
            raise LimitError("it uses a namespace as a value")
        else:
            size, depth = 8, 0
        if size > self._largest or depth > MAX_DEPTH:
            raise LimitError("it makes a value too large")
        return size, depth

    def _measure_container(self, value: Any) -> tuple[int, int]:
        known = self._known.get(id(value))
        if known is not None:
            return known[1:]
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        if len(parts) > MAX_ITEMS:
            raise LimitError("it makes a list too long")
        self.spend(len(parts))
        size, depth = len(parts), 0
        for part in parts:
            part_size, part_depth = self.measure(part)
            size, depth = size + part_size, max(depth, part_depth)
        depth += 1
        self._known[id(value)] = (value, size, depth)  # holding it: the id stays its own
        return size, depth

    # ------------------------------------------------------- what would make much out of little

    def foresee(self, size: int) -> None:
        """Count a value before it is made."""
        self.spend(max(size, 0))
        if size > self._largest:
            raise LimitError("it makes a value too large")

    def foresee_method(self, text: str, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments as they should be passed."""
        if method == "replace" and len(args) >= 2:
            self.foresee_replace(text, args[0], args[1])
        elif method == "join" and args:
            items = self.made(iter(args[0]))
            self.foresee_join(text, items)
            return (items,)
        return args

    def foresee_replace(self, text: str, old: str, new: str) -> None:
        self.foresee(text.count(old) * len(new))

    def foresee_join(self, separator: str, items: Sequence[object]) -> None:
        self.foresee(len(separator) * len(items))

    def foresee_operator(self, operator: str, left: Any, right: Any) -> None:
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(count, int):
                    self.foresee(len(sequence) * count)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > MAX_BITS:
                raise LimitError("it computes with huge numbers")
        elif operator == "%" and isinstance(left, str):
            self.foresee_percent(left, right)

    def foresee_percent(self, form: str, arguments: Any) -> None:
        if re.search(r"\*|\d{4}", form.partition("%")[2]):
            raise LimitError("it formats to a huge width")
        self._foresee_fields(form.count("%"), arguments)

    def foresee_format(self, form: str, arguments: Sequence[Any]) -> None:
        fields = 0
        for _, field, spec, _ in string.Formatter().parse(form):
            fields += field is not None
            if spec and re.search(r"\{|\d{4}", spec):
                raise LimitError("it formats to a huge width")
        self._foresee_fields(fields, arguments)

    def _foresee_fields(self, count: int, arguments: Any) -> None:
        size, depth = self.measure(arguments)
        # A text inside a list is written with escapes: \U0001f600.
        self.spend(count * (1000 + size * (10 if depth > 1 else 1)))
