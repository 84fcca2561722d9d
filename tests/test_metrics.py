"""Measures of labels, against scikit-learn's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from gptcli.tasks.metrics import calibration_error, label_metrics

LABELS = ("a", "b", "c")
ANSWERS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1)), min_size=1, max_size=60
)


@given(ANSWERS)
def test_measures_are_those_of_scikit_learn(answers: list[tuple[int, int, float]]) -> None:
    targets, said, confidences = (list(column) for column in zip(*answers, strict=True))

    found = label_metrics(LABELS, targets, said, confidences)

    assert found.accuracy == pytest.approx(accuracy_score(targets, said))
    assert found.macro_f1 == pytest.approx(f1_score(targets, said, average="macro", zero_division=0))
    assert [list(row) for row in found.confusion] == confusion_matrix(
        targets, said, labels=[0, 1, 2]
    ).tolist()
    theirs = precision_recall_fscore_support(targets, said, labels=[0, 1, 2], zero_division=0)
    for n, each in enumerate(found.classes):
        ours = (each.precision, each.recall, each.f1, each.support)
        assert ours == pytest.approx([column[n] for column in theirs])


@given(ANSWERS)
def test_a_calibration_error_is_a_share(answers: list[tuple[int, int, float]]) -> None:
    hits = [target == said for target, said, _ in answers]
    found = calibration_error([confidence for *_, confidence in answers], hits)

    assert 0 <= found <= 1


def test_confidence_that_is_right_has_no_error() -> None:
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0] * 4, [True, True, True, False]) == pytest.approx(0.25)
    # Bins do not make up for each other: 0.2 too high in one, 0.2 too low in another.
    assert calibration_error([0.7, 0.7, 0.3, 0.3], [True, False, True, False]) == pytest.approx(0.2)
    assert calibration_error([], []) == 0
