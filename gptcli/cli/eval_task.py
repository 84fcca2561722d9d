"""What a task must say of itself to be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gptcli.engine.api import Engine
from gptcli.output.console import Output
from gptcli.tasks.evaluation import Evaluation

Params = dict[str, Any]
Run = Callable[[Callable[[int], object]], Evaluation]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do a task with a model: a form or a head, and how to run it."""

    name: str
    run: Run


@dataclass(frozen=True, slots=True)
class EvaluatedTask:
    """How a task's data are read, what is run on them, and how the details of a run are shown."""

    items: Callable[[Params, Output], Sequence[Any]]
    variants: Callable[[Engine, Any, Params, Output], Iterator[Variant]]
    show: Callable[[Output, Evaluation, str], None]
