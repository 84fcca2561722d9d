"""Heads: labels from a model's hidden states, by weights that were learnt from examples."""

from __future__ import annotations

import contextlib
import math
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from operator import mul
from typing import Any, Generic, TypeVar

from gptcli.engine.api import Embed, Embedded, Engine, HiddenState, Request
from gptcli.errors import GptcliError, UsageError
from gptcli.prompts.heads import head_form
from gptcli.prompts.labels import Example, LabelForm
from gptcli.tasks.calibration import uncalibrated
from gptcli.tasks.labels import (
    WINDOW_BYTES,
    Classification,
    Classifier,
    LabelTask,
    classification,
    weighted_mean,
)
from gptcli.tasks.ordered import Result, run_ordered
from gptcli.tasks.passages import windows

T = TypeVar("T")

FORMAT = 1  # of a head's members


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A linear classifier on hidden states of one model.

    `model` is the fingerprint of its weights. The states are read behind a form with examples, and
    put one after the other; a label's log-odds are its weights times them, plus its bias, in nats,
    and calibrated: their softmax is the probability. `report` says how it was fitted and how good it
    was on examples that it had not seen.
    """

    model: str
    model_name: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    line: str
    states: tuple[HiddenState, ...]
    weights: tuple[array[float], ...]
    biases: tuple[float, ...]
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> LabelForm:
        return head_form(self.labels, self.examples, self.line)

    def log_odds(self, states: Sequence[Sequence[float]]) -> list[float]:
        """Return the evidence for each label, in nats."""
        values = array("f")
        for state in states:
            values.extend(state)
        return [
            sum(map(mul, weights, values)) + bias
            for weights, bias in zip(self.weights, self.biases, strict=True)
        ]

    def check_model(self, fingerprint: str, model_name: str) -> None:
        """Raise UsageError for another model than the one whose states it was fitted on."""
        if fingerprint != self.model:
            raise UsageError(
                f'this head was fitted on "{self.model_name}", and "{model_name}" is another model',
                hint=f"-m {self.model_name}, or gptcli fit … -m {model_name}",
                fitted_on=self.model_name,
            )

    def with_report(self, report: Mapping[str, Any]) -> Head:
        return replace(self, report=report)

    def members(self) -> dict[str, Any]:
        """Return the head as JSON members."""
        return {
            "format": FORMAT,
            "model": self.model,
            "model_name": self.model_name,
            "labels": list(self.labels),
            "line": self.line,
            "examples": [{"text": each.text, "label": each.label} for each in self.examples],
            "states": [{"layer": each.layer, "pooling": each.pooling} for each in self.states],
            "weights": [[float(f"{value:.6g}") for value in row] for row in self.weights],
            "biases": list(self.biases),
            "report": dict(self.report),
        }

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Head:
        """Return the head that `members` gave. Raises ValueError, LookupError or TypeError."""
        if members["format"] != FORMAT:
            raise ValueError(f"format {members['format']!r} is not known")
        head = cls(
            model=members["model"],
            model_name=members["model_name"],
            labels=tuple(members["labels"]),
            examples=tuple(Example(**each) for each in members["examples"]),
            line=members["line"],
            states=tuple(HiddenState(**each) for each in members["states"]),
            weights=tuple(array("f", row) for row in members["weights"]),
            biases=tuple(map(float, members["biases"])),
            report=members["report"],
        )
        head._check()
        return head

    def _check(self) -> None:
        texts = (self.model, self.model_name, self.line, *self.labels)
        if not all(isinstance(text, str) for text in texts) or "{text}" not in self.line:
            raise TypeError("a name or the line is no text")
        if not len(self.labels) == len(self.weights) == len(self.biases) > 1:
            raise ValueError("labels, weights and biases do not belong together")
        if len({len(row) for row in self.weights}) != 1 or len(self.weights[0]) % len(self.states):
            raise ValueError("the weights do not fit the states")
        if not all(map(math.isfinite, (*self.biases, *(v for row in self.weights for v in row)))):
            raise ValueError("a weight is no number")
        if not all(0 <= each.label < len(self.labels) for each in self.examples):
            raise ValueError("an example has no label")


class HeadClassifier:
    """Labels texts by a head, as `Classifier` does by log-probabilities."""

    def __init__(self, engine: Engine, head: Head) -> None:
        self._engine, self._head, self._form = engine, head, head.form
        self.task = LabelTask(
            labels=head.labels,
            forms=(self._form,),
            calibration=uncalibrated(1, len(head.labels)),
        )

    def classify(
        self, items: Iterable[T], text_of: Callable[[T], str]
    ) -> Generator[tuple[T, Classification | GptcliError], None, None]:
        """Yield each item with its classification or its error, in order, as soon as it is there.

        Long texts are read window by window; their evidence is averaged, weighted by length.
        Raises as `run_ordered`. Closing the generator cancels.
        """
        with contextlib.closing(
            run_ordered(self._engine, self._windows(items, text_of), self._request)
        ) as results:
            read: list[tuple[_Window[T], list[float]]] = []
            problem: GptcliError | None = None
            tokens = 0
            for window, result in results:
                if isinstance(result, GptcliError):
                    problem = problem or result
                elif isinstance(result, Embedded) and result.states:
                    read.append((window, self._head.log_odds(result.states)))
                    tokens += result.usage.prompt_tokens
                if window.is_last:
                    yield window.item, problem or self._combined(window, read, tokens)
                    read, problem, tokens = [], None, 0

    def _windows(self, items: Iterable[T], text_of: Callable[[T], str]) -> Iterator[_Window[T]]:
        numbers = count()
        for item in items:
            try:
                text = text_of(item)
            except GptcliError as error:
                yield _Window(item=item, whole="", problem=error)
                continue
            parts = windows(text, WINDOW_BYTES)
            if not parts:
                yield _Window(item=item, whole=text)
            for n, part in enumerate(parts, 1):
                yield _Window(
                    item=item, whole=text, text=part.text, number=next(numbers), is_last=n == len(parts)
                )

    def _request(self, window: _Window[T]) -> Request | Result:
        if window.problem is not None:
            return window.problem
        if not window.text:
            return Embedded(id=0)
        return embed_request(self._form, self._head.states, window.text, window.number)

    def _combined(
        self, last: _Window[T], read: Sequence[tuple[_Window[T], list[float]]], tokens: int
    ) -> Classification:
        if not read:
            return Classification(text=last.whole, label=None, score=None, scores={})
        sizes = [len(window.text) for window, _ in read]
        log_odds = weighted_mean([found for _, found in read], sizes)
        return classification(last.whole, self.task, log_odds, windows=len(read), tokens=tokens)


AnyClassifier = Classifier | HeadClassifier


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window(Generic[T]):
    """A part of an item's text that is read at a time; without text: nothing to read."""

    item: T
    whole: str
    text: str = ""
    number: int = 0
    is_last: bool = True
    problem: GptcliError | None = None


def embed_request(form: LabelForm, states: Sequence[HiddenState], text: str, number: int) -> Embed:
    """Return the request for a text's states behind a form."""
    prompt = form.prompt(text)
    assert isinstance(prompt, str)
    return Embed(text=prompt, states=tuple(states), id=number)
