"""Measures of labels as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptcli.output.console import Output
from gptcli.output.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Members = Mapping[str, Any]

MOST_CLASSES = 12  # of a confusion matrix on a terminal


def print_label_metrics(output: Output, metrics: Members, title: str = "") -> None:
    """Print accuracy, macro-F1 and calibration error, then each class, then the confusion matrix.

    `metrics` are the members that `LabelMetrics` gives.
    """
    output.write(f"{title}\n" if title else "")
    output.write(
        f"accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['macro_f1']:.3f}, "
        f"expected calibration error {metrics['calibration_error']:.3f}\n\n"
    )
    rows = [
        (
            each["label"],
            *(round(each[name], 3) for name in ("precision", "recall", "f1")),
            each["support"],
        )
        for each in metrics["classes"]
    ]
    print_table(output, ("label", "precision", "recall", "F1", "texts"), rows)
    labels = [str(each["label"]) for each in metrics["classes"]]
    if not output.stdout_is_tty or len(labels) <= MOST_CLASSES:
        output.write("\n")
        print_confusion(output, labels, metrics["confusion"])


def print_confusion(output: Output, labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """Print how many texts of each label (row) were given each label (column)."""
    rows = [(label, *row) for label, row in zip(labels, matrix, strict=True)]
    print_table(output, ("right \\ said", *labels), rows)
