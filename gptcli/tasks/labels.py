"""Labels for texts, from log-probabilities: what a model would say next, never what it says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Generic, TypeVar

from gptcli.engine.api import Engine, Prompt, Request, Score, Scored
from gptcli.errors import GptcliError
from gptcli.languages import is_chinese
from gptcli.prompts.labels import AnyForm, log_softmax
from gptcli.tasks.calibration import Calibration
from gptcli.tasks.ordered import Result, run_ordered
from gptcli.tasks.passages import windows

T = TypeVar("T")

WINDOW_BYTES = 2400  # of a long text at a time: some 500 tokens of English


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """What is asked of every text. With `is_multi` none or several labels may be right.

    `chinese` is asked of Chinese texts instead: the same, but in another form or calibrated otherwise.
    """

    labels: tuple[str, ...]
    forms: tuple[AnyForm, ...]
    calibration: Calibration
    is_multi: bool = False
    window_bytes: int = WINDOW_BYTES
    chinese: LabelTask | None = None

    def for_text(self, text: str) -> LabelTask:
        """Return what is asked of a text."""
        return self.chinese if self.chinese is not None and is_chinese(text) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A text's label, its probability, and those of all labels, in their order.

    The scores sum to 1 unless labels are independent of each other. A blank text has no label (None)
    and no scores. `log_odds` is the evidence for each label, in nats: of a text that was read in several
    `windows`, their mean, each weighted by its characters. `tokens`: how many were evaluated.
    """

    text: str
    label: str | None
    score: float | None
    scores: Mapping[str, float]
    log_odds: tuple[float, ...] = ()
    windows: int = 1
    tokens: int = 0


class Classifier:
    """Labels texts on an engine. A result depends on its text alone, not on what stands beside it."""

    def __init__(self, engine: Engine, task: LabelTask) -> None:
        self._engine = engine
        self.task = task
        self._heads: dict[AnyForm, Prompt] = {}

    def classify(
        self, items: Iterable[T], text_of: Callable[[T], str]
    ) -> Generator[tuple[T, Classification | GptcliError], None, None]:
        """Yield each item with its classification or its error, in order, as soon as it is there.

        `text_of` gives an item's text; a GptcliError that it raises is the item's result. Items are
        read as the engine has room for them. Raises as `run_ordered`. Closing the generator cancels.
        """
        results = run_ordered(self._engine, self._units(items, text_of), self._request)
        with contextlib.closing(results):
            scored: list[_Unit[T]] = []
            problem: GptcliError | None = None
            for unit, result in results:
                if isinstance(result, GptcliError):
                    problem = problem or result
                elif isinstance(result, Scored):
                    unit.take(result)
                scored.append(unit)
                if unit.is_last:
                    yield unit.item, problem or self._combined(scored)
                    scored, problem = [], None

    def _request(self, unit: _Unit[T]) -> Request | Result:
        if unit.problem is not None:
            return unit.problem
        if unit.form is None:
            return _NOTHING
        prefix, continuations = unit.form.question(unit.part, unit.question)
        return Score(
            prefix=prefix,
            continuations=continuations,
            head=self._head(unit.form),
            id=unit.number,
        )

    def _head(self, form: AnyForm) -> Prompt:
        """Return a form's head, which is long, made once."""
        if form not in self._heads:
            self._heads[form] = form.head
        return self._heads[form]

    def _units(self, items: Iterable[T], text_of: Callable[[T], str]) -> Iterator[_Unit[T]]:
        numbers = count()
        for item in items:
            try:
                text = text_of(item)
            except GptcliError as error:
                yield _Unit(item=item, text="", task=self.task, problem=error)
                continue
            parts = windows(text, self.task.window_bytes)
            tasks = [self.task.for_text(part.text) for part in parts]
            asked = [
                (n, part.text, task, form, question)
                for n, (part, task) in enumerate(zip(parts, tasks, strict=True))
                for form in task.forms
                for question in range(form.question_count)
            ]
            if not asked:
                yield _Unit(item=item, text=text, task=self.task)
            for n, (window, part, task, form, question) in enumerate(asked, 1):
                yield _Unit(
                    item=item,
                    text=text,
                    task=task,
                    window=window,
                    part=part,
                    form=form,
                    question=question,
                    number=next(numbers),
                    is_last=n == len(asked),
                )

    def _combined(self, units: Sequence[_Unit[T]]) -> Classification:
        text = units[0].text
        if units[0].form is None:
            return Classification(text=text, label=None, score=None, scores={})
        parts = [list(part) for _, part in groupby(units, lambda unit: unit.window)]
        log_odds = [_log_odds(part) for part in parts]
        sizes = [len(part[0].part) for part in parts]
        return classification(
            text,
            self.task,
            weighted_mean(log_odds, sizes),
            windows=len(parts),
            tokens=sum(unit.tokens for unit in units),
        )


@dataclass(slots=True, kw_only=True)
class _Unit(Generic[T]):
    """One question about a window of a text, in one form. Without a form: nothing to ask about."""

    item: T
    text: str
    task: LabelTask
    window: int = 0
    part: str = ""
    form: AnyForm | None = None
    question: int = 0
    number: int = 0
    is_last: bool = True
    problem: GptcliError | None = None
    logprobs: tuple[float, ...] = ()
    tokens: int = 0

    def take(self, result: Scored) -> None:
        self.logprobs = result.logprobs
        self.tokens = result.usage.prompt_tokens - result.usage.cached_tokens


def _log_odds(units: Sequence[_Unit[T]]) -> list[float]:
    """Return the evidence for each label from all questions about a window."""
    scores = [
        form.scores([logprob for unit in asked for logprob in unit.logprobs])
        for form, asked in groupby(units, lambda unit: unit.form)
        if form is not None
    ]
    return units[0].task.calibration.log_odds(scores)


_NOTHING = Scored(id=0, logprobs=(), token_counts=())


def classification(
    text: str, task: LabelTask, log_odds: Sequence[float], *, windows: int = 1, tokens: int = 0
) -> Classification:
    """Return the verdict that the evidence for each label amounts to."""
    if task.is_multi:
        probabilities = [1 / (1 + math.exp(-max(-700.0, each))) for each in log_odds]
    else:
        probabilities = [math.exp(each) for each in log_softmax(log_odds)]
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return Classification(
        text=text,
        label=task.labels[best],
        score=probabilities[best],
        scores=dict(zip(task.labels, probabilities, strict=True)),
        log_odds=tuple(log_odds),
        windows=windows,
        tokens=tokens,
    )


def weighted_mean(rows: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    whole = sum(weights)
    return [
        sum(weight * value for weight, value in zip(weights, column, strict=True)) / whole
        for column in zip(*rows, strict=True)
    ]
