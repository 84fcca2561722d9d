"""How good labels are, by the standard measures of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BINS = 10  # of the expected calibration error


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class: how often it was right where it was said, how much of it was found, and their F1.

    Where nothing could be right, a value is 0, as scikit-learn has it.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # texts that are of this class


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMetrics:
    """All measures of a run. `confusion[right][said]` counts texts."""

    accuracy: float
    macro_f1: float  # the mean of the F1 of classes that occur, in the data or in the answers
    calibration_error: float
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def members(self) -> dict[str, Any]:
        """Return the measures as JSON members."""
        found = asdict(self)
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in found.items()}


def label_metrics(
    labels: Sequence[str],
    targets: Sequence[int],
    answers: Sequence[int],
    confidences: Sequence[float],
) -> LabelMetrics:
    """Return the measures of answers, whose probability was `confidences`, against what is right."""
    matrix = confusion_matrix(len(labels), targets, answers)
    classes = tuple(_class_metrics(label, n, matrix) for n, label in enumerate(labels))
    present = [each for n, each in enumerate(classes) if each.support or any(row[n] for row in matrix)]
    hits = [target == answer for target, answer in zip(targets, answers, strict=True)]
    return LabelMetrics(
        accuracy=_ratio(sum(hits), len(hits)),
        macro_f1=_ratio(sum(each.f1 for each in present), len(present)),
        calibration_error=calibration_error(confidences, hits),
        classes=classes,
        confusion=matrix,
    )


def confusion_matrix(
    size: int, targets: Sequence[int], answers: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return how many texts of each class (row) were given each class (column)."""
    matrix = [[0] * size for _ in range(size)]
    for target, answer in zip(targets, answers, strict=True):
        matrix[target][answer] += 1
    return tuple(map(tuple, matrix))


def calibration_error(confidences: Sequence[float], hits: Sequence[bool], bins: int = BINS) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, on average.

    Answers are sorted into equal bins by their probability; the differences are weighted by the bins'
    sizes (Naeini et al. 2015, Guo et al. 2017).
    """
    sums = [[0.0, 0, 0] for _ in range(bins)]
    for confidence, hit in zip(confidences, hits, strict=True):
        own = sums[min(int(confidence * bins), bins - 1)]
        own[0] += confidence
        own[1] += hit
        own[2] += 1
    return _ratio(sum(abs(confidence - right) for confidence, right, _ in sums), len(hits))


def _class_metrics(label: str, n: int, matrix: Sequence[Sequence[int]]) -> ClassMetrics:
    right = matrix[n][n]
    said, support = sum(row[n] for row in matrix), sum(matrix[n])
    f1 = _ratio(2 * right, said + support)
    return ClassMetrics(label, _ratio(right, said), _ratio(right, support), f1, support)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
