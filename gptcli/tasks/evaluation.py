"""What is measured of a task: one function each, from pairs of answers and what is right to figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gptcli.errors import GptcliError
from gptcli.tasks.heads import AnyClassifier
from gptcli.tasks.metrics import label_metrics

Report = Callable[[int], object]  # records done


@dataclass(frozen=True, slots=True)
class Item:
    """A record's text, and what is right."""

    text: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good a run was. `figures`: name and value, in the order in which they matter.

    `details` has more of them, as JSON members; `seconds` is the time of all `records`.
    """

    figures: dict[str, float]
    details: dict[str, Any]
    records: int
    failed: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.records / self.seconds if self.seconds else 0.0


def evaluate_labels(
    classifier: AnyClassifier,
    items: Sequence[Item],
    labels: Sequence[str],
    on_progress: Report = lambda _: None,
) -> Evaluation:
    """Return how often a classifier gives the right label. Records that fail count as wrong.

    Raises as `Classifier.classify`.
    """
    started = time.perf_counter()
    targets, answers, confidences, failed = [], [], [], 0
    names = [*labels, *(name for name in classifier.task.labels if name not in labels)]
    for done, (item, found) in enumerate(classifier.classify(items, lambda item: item.text), 1):
        on_progress(done)
        target = names.index(item.target)
        targets.append(target)
        if isinstance(found, GptcliError) or found.label is None or found.score is None:
            failed += 1
            answers.append(next(n for n in range(len(names)) if n != target))
            confidences.append(0.0)
        else:
            answers.append(names.index(found.label))
            confidences.append(found.score)
    metrics = label_metrics(names, targets, answers, confidences)
    return Evaluation(
        figures={
            "accuracy": metrics.accuracy,
            "macro_f1": metrics.macro_f1,
            "calibration_error": metrics.calibration_error,
        },
        details=metrics.members(),
        records=len(targets),
        failed=failed,
        seconds=time.perf_counter() - started,
    )
